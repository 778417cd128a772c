//! What the tests of the whole system share: an installation of its own for each test, the programs
//! as users start them, topics read to their end, and a fold of `events` by other means.
//!
//! | target | shows |
//! |---|---|
//! | `bad_input` | what cannot be started says why in one line, and leaves nothing behind |
//! | `broker` | exactly once through crashes and rebalances, dead letters, restore |
//! | `chaos` | whatever breaks under load, nothing is lost and nothing doubled |
//! | `errors` | each reaction to an error, by faults injected into single requests |
//! | `exchanges` | clients of the exchanges that others wrote read the simulators, number by number |
//! | `guarantee` | killed between outputs and offsets: exactly once doubles nothing, at least once shows |
//! | `library` | `streams` as a program of somebody else's |
//! | `infra` | connectors, tables, topics, rules and panels say what the code says |
//! | `marks` | candles say of their feed what a fold by other means says |
//! | `page` | the page in a browser, with real data behind |
//! | `pipeline` | recorded trades reach `PostgreSQL` as the candles that the exchanges published |
//! | `outage` | the database goes away for longer than the sinks may be silent |
//! | `security` | a broker and a registry with TLS, passwords and ACLs; each refusal in one line |
//! | `simulation` | everything fails at once, from one seed |
//! | `sinks` | a row that the database refuses stops no sink |
//! | `standby` | a warm takeover, and views outside the group |
//! | `spool` | Kafka goes away for a while and the producer is killed meanwhile: nothing is lost |
//! | `stream` | changes over WebSocket and server-sent events |
//! | `swaps` | swaps of a chain that reorganises, through kills: every bucket is that of the canonical chain |
//! | `tidy` | the norms of the repository |
//! | `venues` | every venue under every fault: what is in `events` is what was traded, less what is marked |
//!
//! All but `errors`, `exchanges`, `marks`, `simulation` and `tidy` need the real stack: `make up`, or `make test` which
//! does it. A test that
//! does not find it fails and says so; none is skipped.
//!
//! Each test has topics, group, state, ports, connectors and a database schema of its own, so tests
//! may run side by side, and beside an installation that is in use. They wait for what they need with
//! a bound, never for a time.

pub mod support;
