//! Text that is a decimal is written as text of the same number, and in the same order as its units.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::Decimal;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (first, second) = text.split_once(' ').unwrap_or((text, "0"));
    let Ok(first) = first.parse::<Decimal>() else { return };
    assert_eq!(first.to_string().parse(), Ok(first));
    assert_eq!(Decimal::from_units(first.units()), Some(first));
    if let Ok(second) = second.parse::<Decimal>() {
        assert_eq!(first.cmp(&second), first.units().cmp(&second.units()));
        let sum = first.checked_add(second);
        assert_eq!(sum, first.units().checked_add(second.units()).and_then(Decimal::from_units));
    }
});
