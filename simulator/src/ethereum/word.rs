//! Words of 256 bits as contracts and nodes write them, made by hand: a client's library is not
//! tested with itself.

/// Bytes of a word.
const BYTES: usize = 32;

/// A signed decimal number as the 64 hexadecimal digits of a word, in two's complement.
pub(crate) fn signed(decimal: &str) -> String {
    let digits = decimal.strip_prefix('-');
    let mut word = [0u8; BYTES];
    for digit in digits.unwrap_or(decimal).bytes() {
        let mut carry = u16::from(digit.saturating_sub(b'0'));
        for byte in word.iter_mut().rev() {
            let [high, low] = (u16::from(*byte) * 10 + carry).to_be_bytes();
            carry = u16::from(high);
            *byte = low;
        }
    }
    if digits.is_some() {
        let mut carry = true;
        for byte in word.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    digits_of(&word)
}

/// An unsigned number as the digits of a word.
pub(crate) fn unsigned(number: u128) -> String {
    format!("{number:064x}")
}

/// A whole number as the digits of a word, in two's complement.
pub(crate) fn int(number: i32) -> String {
    signed(&number.to_string())
}

/// An address as the digits of a word.
pub(crate) fn address(address: &str) -> String {
    format!("{:0>64}", address.trim_start_matches("0x"))
}

/// A text as a contract returns a `string`: the place of its beginning, its length, its bytes.
pub(crate) fn string(text: &str) -> String {
    let length = u128::try_from(text.len()).unwrap_or_default();
    let offset = u128::try_from(BYTES).unwrap_or_default();
    format!("{}{}{}", unsigned(offset), unsigned(length), bytes32(text))
}

/// A text as a contract returns `bytes32`, which some old tokens do: at most 32 bytes.
pub(crate) fn bytes32(text: &str) -> String {
    format!("{:0<64}", digits_of(text.as_bytes()))
}

/// A number as JSON-RPC writes quantities: without leading zeros.
pub(crate) fn quantity(number: u64) -> String {
    format!("{number:#x}")
}

/// The number of a quantity.
pub(crate) fn number(quantity: &str) -> Option<u64> {
    u64::from_str_radix(quantity.strip_prefix("0x")?, 16).ok()
}

/// A hash of 32 bytes that these numbers decide.
pub(crate) fn hash(seed: u64, kind: u64, number: u64) -> String {
    let mut state = seed ^ kind.rotate_left(17) ^ number.rotate_left(40);
    let words = [(); 4].map(|()| {
        state = mixed(state.wrapping_add(number));
        format!("{state:016x}")
    });
    format!("0x{}", words.concat())
}

/// An address that these numbers decide.
pub(crate) fn account(kind: u64, number: u64) -> String {
    hash(0, kind, number)[..42].to_owned()
}

/// One step of the generator `SplitMix64`: numbers that are near become numbers that are far apart.
fn mixed(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn digits_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_words_in_twos_complement() {
        assert_eq!(signed("0"), "0".repeat(64));
        assert_eq!(signed("-1"), "f".repeat(64));
        assert_eq!(int(-256), format!("{}00", "f".repeat(62)));
        assert_eq!(
            signed("340282366920938463463374607431768211456"),
            format!("{:0>64}", format!("1{}", "0".repeat(32)))
        );
        // -(2^255): the smallest of all.
        let least =
            "-57896044618658097711785492504343953926634992332820282019728792003956564819968";
        assert_eq!(signed(least), format!("8{}", "0".repeat(63)));
        assert_eq!(unsigned(255), format!("{:0>64}", "ff"));
    }

    #[test]
    fn texts_are_padded_and_quantities_are_not() {
        let text = string("USDC");
        assert_eq!(text.len(), 3 * 64);
        assert!(text.starts_with(&format!("{:0>64}{:0>64}55534443", "20", "4")));
        assert_eq!(bytes32("MKR").len(), 64);
        assert_eq!((quantity(0), quantity(255)), ("0x0".into(), "0xff".into()));
        assert_eq!((number("0xff"), number("latest")), (Some(255), None));
    }

    #[test]
    fn hashes_are_different_and_have_their_length() {
        let hashes: std::collections::BTreeSet<_> =
            (0..1000).flat_map(|n| [hash(1, 1, n), hash(1, 2, n), hash(2, 1, n)]).collect();
        assert_eq!(hashes.len(), 3000);
        assert!(hashes.iter().all(|hash| hash.len() == 66));
        assert_eq!(account(7, 1).len(), 42);
    }
}
