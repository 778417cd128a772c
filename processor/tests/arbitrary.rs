//! Lines of files may hold anything: the reader of trades refuses them, and never panics.

use processor::trades;
use proptest::prelude::*;

/// Nearly a trade: each field is what it should be, or anything.
fn line() -> impl Strategy<Value = String> {
    let field = |good: &'static str| prop_oneof![3 => Just(good.to_owned()), 1 => ".{0,30}"];
    let number =
        prop_oneof![Just("1".to_owned()), "-?[0-9]{1,45}(\\.[0-9]{0,25})?", "[0-9]e[0-9]{1,12}"];
    (field("\"BTC\""), field("\"USD\""), number.clone(), number.clone(), number).prop_map(
        |(base, quote, price, size, time)| {
            format!(
                r#"{{"exchange":"any","base":{base},"quote":{quote},"trade_id":1,"price":{price},"size":"{size}","event_time_us":{time}}}"#
            )
        },
    )
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = trades::parse(&text);
    }

    #[test]
    fn what_is_nearly_a_trade_is_read_or_refused(line in line()) {
        let _ = trades::parse(&line);
    }
}
