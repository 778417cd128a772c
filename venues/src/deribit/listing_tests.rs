//! Recorded listings, and the facts that they state.

use anyhow::Context as _;
use schemas::{Decimal, InstrumentName};

use super::super::names::pair;
use super::*;
use crate::malformed::Malformed;
use crate::test_data;

#[test]
fn the_recorded_listings_have_423_and_499_instruments() -> anyhow::Result<()> {
    let bodies = test_data::bodies("deribit/20210417_rest_instruments.jsonl.zst")?;
    for (body, currency, count, options) in
        [(&bodies[0], "BTC", 423, 416), (&bodies[1], "ETH", 499, 492)]
    {
        let listed = instruments(body)?;
        assert_eq!(listed.len(), count);
        assert_eq!(body.matches("\"instrument_name\":").count(), count);
        let of = |class| listed.iter().filter(|one| one.class == class).count();
        assert_eq!(of(Class::Option), options);
        assert_eq!(of(Class::Option), body.matches("\"kind\":\"option\"").count());
        assert_eq!((of(Class::Perpetual), of(Class::Future)), (1, 6));
        assert!(listed.iter().all(|one| one.active && one.currency == currency));
        assert!(listed.iter().all(|one| pair(&one.name).is_ok()));
        for one in &listed {
            let name = InstrumentName::parse(&one.name).context("a derivative")?;
            let facts = (one.expiry_time, one.strike, one.right);
            assert_eq!(facts, (name.expiry_time, name.strike, name.right), "{}", one.name);
            assert_eq!(one.currency, name.currency);
            assert!(one.tick_size.is_some_and(Decimal::is_positive), "{}", one.name);
            assert!(one.contract_size.is_some_and(Decimal::is_positive), "{}", one.name);
        }
    }
    Ok(())
}

#[test]
fn a_listing_states_the_facts_of_an_instrument() -> anyhow::Result<()> {
    let text = r#"{"jsonrpc":"2.0","result":[{"tick_size":0.0005,"strike":1.02,"option_type":"put","kind":"option","is_active":true,"instrument_name":"XRP_USDC-25DEC26-1d02-P","expiration_timestamp":1798185600000,"contract_size":1000.0,"base_currency":"XRP","quote_currency":"USDC","settlement_currency":"USDC"},{"tick_size":0.5,"kind":"future","is_active":true,"instrument_name":"BTC-PERPETUAL","expiration_timestamp":32503708800000,"contract_size":10.0,"base_currency":"BTC","settlement_currency":"BTC"},{"tick_size":1e-19,"is_active":false,"instrument_name":"BTC-FS-27DEC24_PERP","base_currency":"BTC"}]}"#;
    let listed = instruments(text)?;
    let [option, perpetual, combo] = &listed[..] else { anyhow::bail!("{listed:?}") };
    let expected = Instrument {
        settlement_currency: Some("USDC".into()),
        expiry_time: Some(Timestamp(1_798_185_600_000)),
        strike: Some("1.02".parse()?),
        right: Some(Right::Put),
        contract_size: Some("1000".parse()?),
        tick_size: Some("0.0005".parse()?),
        ..Instrument::new("XRP_USDC-25DEC26-1d02-P", "XRP", Class::Option, true)
    };
    assert_eq!(*option, expected);
    assert_eq!((perpetual.expiry_time, perpetual.strike, perpetual.right), (None, None, None));
    assert_eq!(perpetual.contract_size, Some("10".parse()?));
    assert_eq!((combo.class, combo.tick_size, combo.active), (Class::Combo, None, false));
    let bad = text.replace("\"tick_size\":0.5", "\"tick_size\":\"fine\"");
    assert_eq!(instruments(&bad), Err(Malformed::BadField("tick_size")));
    Ok(())
}
