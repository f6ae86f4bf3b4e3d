//! Names of objects, labels and annotations, as all versions of a fleet must agree on them.

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

use crate::room::RoomName;

/// The label that a fleet's pods and leases carry; its value is the fleet's name.
pub const FLEET: &str = "scalesocket.dev/fleet";
/// Where other pods reach the owner: `ip:port`. On sessions and claims.
pub const ENDPOINT: &str = "scalesocket.dev/endpoint";
/// Where clients reach the owner: `ip:port`. On sessions.
pub const PUBLIC: &str = "scalesocket.dev/public";
/// What the session takes: `ready`, `draining`.
pub const STATE: &str = "scalesocket.dev/state";
/// How many clients a pod has. On pods.
pub const CLIENTS: &str = "scalesocket.dev/clients-count";
/// The state in which new rooms are taken.
pub const READY: &str = "ready";
/// The state in which rooms that live go on, and no others are taken.
pub const DRAINING: &str = "draining";
/// How many rooms the owner has.
pub const ROOMS: &str = "scalesocket.dev/rooms";
/// How many rooms the owner takes.
pub const LIMIT: &str = "scalesocket.dev/limit";
/// The room that a claim is for.
pub const ROOM: &str = "scalesocket.dev/room";

/// What the names of sessions begin with.
pub const SESSION_PREFIX: &str = "ss-s-";
/// What the names of claims begin with.
pub const CLAIM_PREFIX: &str = "ss-r-";

/// The name of the session of the pod with that uid.
pub fn session(pod_uid: &str) -> String {
    format!("{SESSION_PREFIX}{pod_uid}")
}

/// The name of the claim for a room of that fleet.
pub fn claim(fleet: &str, room: &RoomName) -> String {
    let hash = Sha256::new()
        .chain_update(fleet)
        .chain_update([0])
        .chain_update(room.as_str())
        .finalize();
    let mut name = BASE32_NOPAD.encode(&hash).to_ascii_lowercase();
    // 160 bits: no two rooms share them by chance or by design.
    name.truncate(32);
    format!("{CLAIM_PREFIX}{name}")
}

/// The number of an object's uid, which the API server gives as a UUID (RFC 9562); none of what is not one.
pub fn uid(text: &str) -> Option<u128> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let dashes = text.len() == 36 && digits.len() == 32;
    dashes
        .then(|| u128::from_str_radix(&digits, 16).ok())
        .flatten()
}

/// A number as the uid that it came from.
pub fn uid_text(uid: u128) -> String {
    let hex = format!("{uid:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_named_by_fleet_and_room() {
        let lobby = RoomName::parse("lobby").unwrap();
        let name = claim("chess", &lobby);
        assert_eq!(name.len(), CLAIM_PREFIX.len() + 32);
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        );
        assert_eq!(name, claim("chess", &lobby), "the same for every pod");
        assert_ne!(name, claim("go", &lobby));
        assert_ne!(name, claim("chess", &RoomName::parse("Lobby").unwrap()));
        // Other versions of the program must find the same claim.
        assert_eq!(name, "ss-r-dtkodyjhr5cntr4wrpnqcsozslrahifw");
    }

    #[test]
    fn uids_go_there_and_back() {
        let text = "0b7f5a0e-5a3b-4c9d-8e21-00c0ffee0001";
        assert_eq!(uid(text).map(uid_text).as_deref(), Some(text));
        for bad in [
            "",
            "x",
            "0b7f5a0e5a3b4c9d8e2100c0ffee0001",
            "+b7f5a0e-5a3b-4c9d-8e21-00c0ffee00011",
        ] {
            assert_eq!(uid(bad), None, "{bad}");
        }
    }
}
