//! The ticker of an instrument, as the channel `ticker.{instrument}.{interval}` and the request
//! `public/ticker` have it.
//!
//! ```text
//! {"timestamp":…,"stats":{"volume":…},"state":"open","mark_price":0.0531,"greeks":{…},…}
//! ```
//!
//! The same fields, each as the text that was sent, are a line of the truth:
//! `{"product":…,"time_us":…,"ticker":{"mark_price":"0.0531","greeks.delta":"0.54771",…}}`.

use std::fmt::Write as _;

use crate::market::Market;
use crate::product::Product;
use crate::surface::instrument::{Instrument, Life};
use crate::surface::number::{float, units_written, written};
use crate::surface::quote::{FutureQuote, OptionQuote, Side};

/// The name of a field, and its value as JSON.
type Field = (&'static str, String);

/// The fields in their groups.
#[derive(Debug, Default)]
pub(super) struct Ticker {
    product: String,
    time_us: i64,
    top: Vec<Field>,
    stats: Vec<Field>,
    greeks: Vec<Field>,
}

impl Ticker {
    /// The ticker of a product at a time.
    pub(super) fn of(market: &Market, index: usize, now_us: i64) -> Self {
        let product = &market.products()[index];
        let surface = market.surface();
        let now_us = surface.instrument(index).map_or(now_us, |one| one.ticker_us(now_us));
        let mut ticker = Self { product: product.name.clone(), time_us: now_us, ..Self::default() };
        ticker.add("timestamp", (now_us / 1000).to_string());
        ticker.add("instrument_name", quoted(&product.name));
        let closed = |one: &Instrument| matches!(one.life, Life::Closed(_));
        let is_closed = surface.instrument(index).is_some_and(closed);
        ticker.add("state", quoted(if is_closed { "closed" } else { "open" }));
        ticker.add_stats(market, index);
        if let Some(instrument) = surface.instrument(index) {
            let index_price = written(surface.index_of(instrument), 2);
            ticker.add("estimated_delivery_price", index_price.clone());
            ticker.add("index_price", index_price);
        }
        if let (Some(quote), Some(instrument)) =
            (surface.option(index, now_us), surface.instrument(index))
        {
            let open_interest = units_written(surface.open_interest(index), 1);
            ticker.add("open_interest", open_interest);
            ticker.add("underlying_index", quoted(&surface.underlying(instrument)));
            ticker.add_option(&quote, surface.decimals(instrument));
        } else {
            // In dollars, of which a contract is ten.
            let open_interest = float(surface.open_interest(index)) * 1_000.0;
            ticker.add("open_interest", written(open_interest, 1));
            ticker.add_future(product, surface.future(index, now_us).as_ref());
        }
        ticker
    }

    fn add(&mut self, name: &'static str, value: String) {
        self.top.push((name, value));
    }

    /// The trades of a day; nulls when the instrument has never traded.
    fn add_stats(&mut self, market: &Market, index: usize) {
        let product = &market.products()[index];
        let (last, day) = (&product.last, product.last.day);
        let null = || "null".to_owned();
        let has_traded = market.history(index).nth(1).is_some();
        let price = |ticks| if has_traded { product.price(ticks) } else { null() };
        self.add("last_price", price(last.price));
        let change = float(last.price - day.open) / float(day.open.max(1)) * 100.0;
        let change = if has_traded { written(change, 4) } else { null() };
        let [volume, dollars] = if has_traded { volumes(market, index) } else { [null(), null()] };
        self.stats = vec![
            ("volume_usd", dollars),
            ("volume", volume),
            ("price_change", change),
            ("low", price(day.low)),
            ("high", price(day.high)),
        ];
    }

    fn add_option(&mut self, quote: &OptionQuote, decimals: u8) {
        let side = |side: Option<Side>| {
            side.map_or(["0.0"; 3].map(str::to_owned), |side| {
                [written(side.price, 4), units_written(side.amount, 1), written(side.iv, 2)]
            })
        };
        let [bid, bid_amount, bid_iv] = side(quote.bid);
        let [ask, ask_amount, ask_iv] = side(quote.ask);
        self.top.extend([
            ("underlying_price", written(quote.forward, 2)),
            ("mark_price", written(quote.mark_price, decimals)),
            ("mark_iv", written(quote.mark_iv, 2)),
            ("interest_rate", "0.0".into()),
            ("min_price", written(quote.min_price, 4)),
            ("max_price", written(quote.max_price, 4)),
            ("best_bid_price", bid),
            ("best_bid_amount", bid_amount),
            ("bid_iv", bid_iv),
            ("best_ask_price", ask),
            ("best_ask_amount", ask_amount),
            ("ask_iv", ask_iv),
        ]);
        if let Some(price) = quote.settlement_price {
            self.add("settlement_price", written(price, 4));
        }
        let greeks = quote.greeks;
        self.greeks = vec![
            ("vega", written(greeks.vega, 5)),
            ("theta", written(greeks.theta, 5)),
            ("rho", written(greeks.rho, 5)),
            ("gamma", written(greeks.gamma, 5)),
            ("delta", written(greeks.delta, 5)),
        ];
    }

    /// Bid and ask are those of the order book.
    fn add_future(&mut self, product: &Product, quote: Option<&FutureQuote>) {
        let shown = &product.last.shown;
        self.top.extend([
            ("best_bid_price", product.price(shown.bid.price)),
            ("best_bid_amount", product.size(shown.bid.size)),
            ("best_ask_price", product.price(shown.ask.price)),
            ("best_ask_amount", product.size(shown.ask.size)),
        ]);
        let Some(quote) = quote else { return };
        self.top.extend([
            ("mark_price", written(quote.mark_price, 2)),
            ("settlement_price", written(quote.settlement_price, 2)),
            ("min_price", written(quote.mark_price * 0.985, 2)),
            ("max_price", written(quote.mark_price * 1.015, 2)),
        ]);
        if let Some((now, hours)) = quote.funding {
            self.top.extend([
                ("current_funding", written(now, 8)),
                ("funding_8h", written(hours, 8)),
                ("interest_value", written(hours * 100.0, 8)),
            ]);
        }
    }

    /// As JSON, without the closing brace.
    fn json(&self) -> String {
        let mut text = String::with_capacity(1_024);
        text.push('{');
        write_fields(&mut text, &self.top);
        for (name, fields) in [("stats", &self.stats), ("greeks", &self.greeks)] {
            if !fields.is_empty() {
                let _ = write!(text, r#","{name}":{{"#);
                write_fields(&mut text, fields);
                text.push('}');
            }
        }
        text
    }

    /// As the venue sends it.
    pub(super) fn text(&self) -> String {
        self.json() + "}"
    }

    /// The line of the truth.
    pub(super) fn truth(&self) -> String {
        let Self { product, time_us, .. } = self;
        let mut text = format!(r#"{{"product":"{product}","time_us":{time_us},"ticker":{{"#);
        let groups = [("", &self.top), ("stats.", &self.stats), ("greeks.", &self.greeks)];
        let fields =
            groups.iter().flat_map(|(group, fields)| fields.iter().map(move |one| (group, one)));
        for (number, (group, (name, value))) in fields.enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let value = value.trim_matches('"');
            let _ = match value {
                "null" => write!(text, r#"{comma}"{group}{name}":null"#),
                value => write!(text, r#"{comma}"{group}{name}":"{value}""#),
            };
        }
        text + "}}"
    }
}

fn write_fields(text: &mut String, fields: &[Field]) {
    for (number, (name, value)) in fields.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(text, r#"{comma}"{name}":{value}"#);
    }
}

fn quoted(text: &str) -> String {
    format!(r#""{text}""#)
}

/// The volume of a day in contracts or coins, and in dollars: a future's sizes are dollars.
fn volumes(market: &Market, index: usize) -> [String; 2] {
    let (product, surface) = (&market.products()[index], market.surface());
    let units = |whole: i64, decimals: u8| float(whole) / 10f64.powi(i32::from(decimals));
    let size = units(product.last.day.volume, product.size_decimals);
    let price = units(product.last.price, product.price_decimals);
    match surface.instrument(index) {
        Some(instrument) if instrument.is_option() => {
            let dollars = size * price * surface.index_of(instrument);
            [product.size(product.last.day.volume), written(dollars, 2)]
        }
        _ => [written(size / price, 8), written(size, 1)],
    }
}
