//! Requests and answers of each route.

mod books;
mod commands;
mod document;
mod guards;
mod hostile;
mod ranges;
mod reads;
mod refusals;
mod sockets;
mod spreads;
mod tls;
mod world;
