//! Requests and answers of each route.

mod document;
mod guards;
mod hostile;
mod ranges;
mod reads;
mod refusals;
mod sockets;
mod tls;
mod world;
