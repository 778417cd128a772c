//! Requests and answers of each route.

mod books;
mod commands;
mod document;
mod guards;
mod hostile;
mod option_history;
mod options;
mod ranges;
mod reads;
mod refusals;
mod sockets;
mod spreads;
mod surface;
mod tls;
mod world;
