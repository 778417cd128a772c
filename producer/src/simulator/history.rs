//! The venue's trades over REST, also those that a fault hid from the socket.
//!
//! ```text
//! GET /products/BTC-USD/trades?limit=1000&after=ID   newest first, ids below `after`
//! ```
//!
//! It listens to the same market as the sockets do, and remembers so many trades of each product.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast::{self, error::RecvError};

use super::coinbase::time;
use super::market::{Product, Trade};

/// Trades remembered of each product: some minutes of a busy one.
const REMEMBERED: usize = 100_000;
/// The most that is given at once, as the venue has it.
const PAGE: usize = 1000;

struct Known {
    products: Vec<Product>,
    /// Guards the trades by product, the oldest first; held to add one or to copy a page.
    trades: Mutex<Vec<VecDeque<Arc<Trade>>>>,
    /// Every request whose number is a multiple of this is one too many.
    limit_every: Option<u64>,
    asked: Mutex<u64>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves the trades of a market until that ends. Every request whose number is a multiple of
/// `limit_every` is answered with 429.
pub async fn serve(
    listener: TcpListener,
    products: Vec<Product>,
    mut market: broadcast::Receiver<Arc<Trade>>,
    limit_every: Option<u64>,
) -> std::io::Result<()> {
    let trades = Mutex::new(vec![VecDeque::new(); products.len()]);
    let known = Arc::new(Known { products, trades, limit_every, asked: Mutex::new(0) });
    let router =
        Router::new().route("/products/{product}/trades", get(page)).with_state(Arc::clone(&known));
    let remembering = async {
        loop {
            match market.recv().await {
                Ok(trade) => known.remember(trade),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            }
        }
    };
    let serving = async { axum::serve(listener, router).await };
    tokio::select! {
        ended = remembering => ended,
        ended = serving => ended,
    }
}

impl Known {
    fn remember(&self, trade: Arc<Trade>) {
        let mut trades = locked(&self.trades);
        let own = &mut trades[trade.product];
        if own.len() == REMEMBERED {
            own.pop_front();
        }
        own.push_back(trade);
    }
}

#[derive(Deserialize)]
struct Asked {
    limit: Option<usize>,
    after: Option<u64>,
}

async fn page(
    State(known): State<Arc<Known>>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let number = {
        let mut asked = locked(&known.asked);
        *asked += 1;
        *asked
    };
    if known.limit_every.is_some_and(|every| number.is_multiple_of(every)) {
        let words = Json(json!({"message": "Public rate limit exceeded"}));
        return (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")], words).into_response();
    }
    let Some(index) = known.products.iter().position(|product| product.name == name) else {
        return (StatusCode::NOT_FOUND, Json(json!({"message": "NotFound"}))).into_response();
    };
    let product = &known.products[index];
    let limit = asked.limit.unwrap_or(PAGE).min(PAGE);
    let trades = locked(&known.trades);
    let before = trades[index].iter().rev();
    let before = before.filter(|trade| asked.after.is_none_or(|after| trade.id < after));
    let page: Vec<Value> = before.take(limit).map(|trade| shown(product, trade)).collect();
    Json(page).into_response()
}

fn shown(product: &Product, trade: &Trade) -> Value {
    json!({
        "time": time(trade.time_us),
        "trade_id": trade.id,
        "price": product.price(trade.price),
        "size": product.size(trade.size),
        // The maker's.
        "side": if trade.maker_buys { "buy" } else { "sell" },
    })
}
