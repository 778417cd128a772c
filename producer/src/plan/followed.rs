//! The data that is followed of each product: channels, depth, the choice of books, and the interval
//! of tickers.

use venues::{Channel, Follow, TickerInterval, Venue};

use super::expiry::Expiry;

/// The end of a name that stands for all names with the same beginning.
const ANY: char = '*';

/// The data that is followed of each product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// The channels, the depth of books, and the interval of tickers.
    pub follow: Follow,
    /// The products whose books are followed, or beginnings of their names with `*` behind; empty for
    /// all.
    pub book_products: Vec<String>,
    /// The expiries whose options are followed each 100 ms, whatever the interval of the others.
    pub expiries: Vec<Expiry>,
}

impl Followed {
    /// The streams of products.
    pub fn streams(&self, venue: Venue, products: &[String]) -> Vec<String> {
        let of = |product: &String| venue.streams(std::slice::from_ref(product), self.of(product));
        products.iter().flat_map(of).collect()
    }

    /// The streams by which a listed instrument is followed.
    pub fn streams_of_listed(&self, venue: Venue, product: &str) -> Vec<String> {
        (venue.adapter().subscriptions.streams_of_listed)(product, self.of(product))
    }

    /// Whole tickers are followed.
    pub fn has_tickers(&self, venue: Venue) -> bool {
        venue.adapter().tickers.is_some() && self.follow.has(Channel::Ticker)
    }

    /// The interval of a product's tickers, where the venue offers a choice.
    pub fn interval(&self, product: &str) -> TickerInterval {
        let is_chosen = |expiry| self.expiries.contains(&expiry);
        // Most producers choose no expiry: the name is not read then.
        if !self.expiries.is_empty() && Expiry::of_option(product).is_some_and(is_chosen) {
            TickerInterval::Ms100
        } else {
            self.follow.interval
        }
    }

    /// The channels of a product.
    fn of(&self, product: &str) -> Follow {
        let is_chosen = |chosen: &String| match chosen.strip_suffix(ANY) {
            Some(beginning) => product.starts_with(beginning),
            None => product == chosen,
        };
        let follow = Follow { interval: self.interval(product), ..self.follow };
        if self.book_products.is_empty() || self.book_products.iter().any(is_chosen) {
            return follow;
        }
        Follow { channels: follow.channels.without(Channel::Book), ..follow }
    }
}

impl From<Follow> for Followed {
    fn from(follow: Follow) -> Self {
        Self { follow, ..Self::default() }
    }
}
