//! Requests and answers: what a client sees of each route.

mod document;
mod guards;
mod ranges;
mod reads;
mod refusals;
mod tls;
mod world;
