//! Requests and answers of each route.

mod books;
mod commands;
mod document;
mod guards;
mod hostile;
mod index;
mod index_commands;
mod option_history;
mod options;
mod ranges;
mod reads;
mod refusals;
mod sockets;
mod spreads;
mod surface;
mod swap_commands;
mod swaps;
mod swaps_refused;
mod tls;
mod world;
