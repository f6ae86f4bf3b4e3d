//! Where a string stops being plain is told alike by vectors, by words and byte by byte.

use proptest::prelude::*;

use super::*;

fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | ..0x20)
}

/// Any byte, and those often whose neighbours in the code table are not what they are.
fn byte() -> impl Strategy<Value = u8> {
    let borders = b"\x00\x01\x1f\x20\x21\"#[\\]\x7f\x80\x81\x9f\xa0\xa2\xdc\xff";
    prop_oneof![prop::sample::select(borders.as_slice()), any::<u8>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn every_byte_of_a_look_is_judged_by_itself(bytes in prop::array::uniform16(byte())) {
        let told = bytes.map(is_special).into_iter().rev();
        let told = told.fold(0, |bits, special| bits << 1 | u32::from(special));
        prop_assert_eq!(special(&bytes), told);
        prop_assert_eq!(special_in_words(&bytes), told);
    }

    #[test]
    fn a_string_is_plain_up_to_the_first_byte_that_is_not(
        before in prop::collection::vec(byte(), 0..20),
        plain_part in prop::collection::vec(byte().prop_filter("plain", |byte| !is_special(*byte)), 0..60),
        after in prop::collection::vec(byte(), 0..20),
    ) {
        let text = [&before[..], &plain_part, &after].concat();
        for from in [before.len(), 0, text.len(), text.len() + 1] {
            let rest = text.get(from..).unwrap_or_default();
            let end = rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len());
            prop_assert_eq!(plain(&text, from), from + end);
        }
    }
}
