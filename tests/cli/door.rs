//! Every form of the flags that bound connections and requests, good and bad; tried with all others in
//! `forms`.

use super::*;

type Holds = fn(&Config) -> bool;

/// Every documented form, and what it means.
pub(super) const FORMS: &[(&str, Holds)] = &[
    ("--max-connections 1", |c| {
        c.front.max_connections == Some(1)
    }),
    ("--max-connections-per-address 4294967295", |c| {
        c.front.max_connections_per_address == Some(4_294_967_295)
    }),
    ("--max-header-size 1KiB", |c| {
        c.front.max_header_size == 1024
    }),
    ("--max-header-size 64KiB", |c| {
        c.front.max_header_size == 65_536
    }),
    ("--max-headers 1", |c| c.front.max_headers == 1),
    ("--max-headers 1000", |c| c.front.max_headers == 1000),
];

/// Values that are refused.
pub(super) const BAD: &[&str] = &[
    "--max-connections 0",
    "--max-connections-per-address 0",
    "--max-header-size 1023",
    "--max-header-size 65537",
    "--max-headers 0",
    "--max-headers 1001",
];

#[test]
fn without_flags_connections_have_no_limit_but_descriptors_and_heads_have_one() {
    let front = config("cat").front;
    assert_eq!(front.max_connections, None);
    assert_eq!(front.max_connections_per_address, None);
    assert_eq!((front.max_header_size, front.max_headers), (32 << 10, 100));
}

#[test]
fn more_clients_than_connections_are_warned_of() {
    let idle = |flags: &str| {
        let warnings = config(&format!("{flags} cat")).warnings;
        let about = |warning: &String| warning.contains("--max-connections");
        warnings.iter().any(about)
    };
    assert!(idle("--max-connections 10 --max-clients 11"));
    assert!(!idle("--max-connections 10 --max-clients 10"));
    assert!(!idle("--max-connections 10"));
    assert!(!idle("--max-clients 10"));
}
