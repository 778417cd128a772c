//! A token bucket: the budget of one rate limit. A value without a clock.

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;

/// Tokens that requests spend and time refills.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    capacity: i64,
    cost: i64,
    refill_per_second: i64,
    tokens: i64,
    as_of: i64,
}

impl TokenBucket {
    /// A full bucket; each request costs `cost`.
    pub(crate) const fn new(capacity: i64, cost: i64, refill_per_second: i64, now_us: i64) -> Self {
        Self { capacity, cost, refill_per_second, tokens: capacity, as_of: now_us }
    }

    /// Pays for a request, if there are enough tokens.
    pub(crate) fn pay(&mut self, now_us: i64) -> bool {
        let refill = (now_us - self.as_of).max(0).saturating_mul(self.refill_per_second) / SECOND;
        if refill > 0 {
            self.tokens = self.tokens.saturating_add(refill).min(self.capacity);
            // The fraction of a token that is not whole yet is kept.
            self.as_of += refill.saturating_mul(SECOND) / self.refill_per_second;
        }
        let paid = self.tokens >= self.cost;
        self.tokens -= if paid { self.cost } else { 0 };
        paid
    }
}
