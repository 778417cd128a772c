//! Requests and answers: what a client sees of each route.

mod reads;
mod refusals;
mod world;
