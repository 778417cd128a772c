//! The swap of one moment: a step of the pool's price, and amounts of both tokens.

use rand::Rng;
use rand::rngs::StdRng;

use super::pool::{Pool, Protocol};

/// The largest step of a price, in ticks of 0.01 %.
const STEP: i32 = 12;
/// How far a walk goes from its beginning: prices stay in the range of all columns.
const FAR: i32 = 5_000;
/// Bits of a square root that the walk decides; the rest is drawn, so that no bit is always zero.
const DRAWN_BITS: u32 = 32;
/// 2^64.
const TWO_64: f64 = 18_446_744_073_709_551_616.0;
/// Liquidity, before it is drawn.
const LIQUIDITY: u128 = 1 << 70;

/// Numbers of a swap as a pool of v3 has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    /// Amounts of both tokens as decimal text; the sign is the pool's view: positive flows in.
    pub(crate) amounts: [String; 2],
    /// The square root of the price, in 2^-96.
    pub(crate) sqrt_price_x96: u128,
    pub(crate) liquidity: u128,
    pub(crate) tick: i32,
}

/// The next swap of a pool at this tick.
pub(crate) fn step(pool: &Pool, tick: i32, rng: &mut StdRng) -> Move {
    let moved = tick + rng.random_range(-STEP..=STEP);
    let tick = moved.clamp(pool.tick - FAR, pool.tick + FAR);
    let liquidity = LIQUIDITY + u128::from(rng.random::<u64>());
    Move { amounts: amounts(pool, rng), sqrt_price_x96: root(tick, rng), liquidity, tick }
}

/// One amount in and the other out. Digits are drawn one by one: the amounts of a vast token have more
/// than any machine word.
fn amounts(pool: &Pool, rng: &mut StdRng) -> [String; 2] {
    let digits0 = rng.random_range(pool.digits.saturating_sub(3)..=pool.digits).max(1);
    // The value of one token 0: 4,343 ticks are a factor of e^0.434, and 23,027 a digit.
    let worth = f64::from(pool.tick) / 23_027.0;
    let digits1 = (f64::from(digits0) + worth).round().clamp(1.0, 70.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 70")]
    let digits1 = digits1 as u32;
    let (mut one, mut other) = (number(digits0, rng), number(digits1, rng));
    let out = if rng.random() { &mut one } else { &mut other };
    // A swap of v3 of almost nothing gives nothing out.
    if pool.protocol == Protocol::V3 && rng.random_ratio(1, 200) {
        "0".clone_into(out);
    } else {
        out.insert(0, '-');
    }
    [one, other]
}

fn number(digits: u32, rng: &mut StdRng) -> String {
    let digit = |first: bool| char::from(b'0' + rng.random_range(u8::from(first)..10));
    (0..digits).map(|place| place == 0).map(digit).collect()
}

/// A square root of a price within this tick.
fn root(tick: i32, rng: &mut StdRng) -> u128 {
    // The middle of the tick: no rounding leaves it.
    let root = 1.0001_f64.powf(f64::from(2 * tick + 1) / 4.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^96")]
    let bits = (root * TWO_64) as u128;
    (bits << DRAWN_BITS) | u128::from(rng.random::<u32>())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_swap_has_one_amount_in_and_some_are_beyond_any_machine_word() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut longest = 0;
        for pool in Pool::all(8) {
            let mut tick = pool.tick;
            for _ in 0..500 {
                let made = step(&pool, tick, &mut rng);
                tick = made.tick;
                let out = made.amounts.iter().filter(|amount| amount.starts_with('-')).count();
                assert!(out <= 1, "{made:?}");
                assert!(
                    made.amounts.iter().all(|amount| *amount != "-0" && !amount.starts_with("00"))
                );
                longest = longest.max(made.amounts[0].len());
                assert!((tick - pool.tick).abs() <= FAR);
            }
        }
        assert!(longest > 40, "{longest}");
    }

    #[test]
    fn a_root_is_within_its_tick() {
        let mut rng = StdRng::seed_from_u64(2);
        for tick in [-605_000, -198_900, -1, 0, 1, 198_900] {
            #[expect(clippy::cast_precision_loss, reason = "a tick is 10^-4")]
            let price = (root(tick, &mut rng) as f64 / TWO_64 / 4_294_967_296.0).powi(2);
            let found = price.ln() / 1.0001_f64.ln();
            assert!((found - f64::from(tick) - 0.5).abs() < 0.1, "{tick}: {found}");
        }
    }
}
