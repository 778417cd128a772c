//! The data that is followed of each product: channels, depth, and the choice of books.

use venues::{Channel, Follow, Venue};

/// The end of a name that stands for all names with the same beginning.
const ANY: char = '*';

/// The data that is followed of each product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// The channels, and the depth of books.
    pub follow: Follow,
    /// The products whose books are followed, or beginnings of their names with `*` behind; empty for
    /// all.
    pub book_products: Vec<String>,
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

    /// The channels of a product.
    fn of(&self, product: &str) -> Follow {
        let is_chosen = |chosen: &String| match chosen.strip_suffix(ANY) {
            Some(beginning) => product.starts_with(beginning),
            None => product == chosen,
        };
        if self.book_products.is_empty() || self.book_products.iter().any(is_chosen) {
            return self.follow;
        }
        Follow { channels: self.follow.channels.without(Channel::Book), ..self.follow }
    }
}

impl From<Follow> for Followed {
    fn from(follow: Follow) -> Self {
        Self { follow, book_products: Vec::new() }
    }
}
