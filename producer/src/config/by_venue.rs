//! The settings of a command for exchanges and for chains: `--venue` decides which flags apply.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use venues::AnyVenue;

use crate::plan::selection::VENUE;

/// The settings of a command, by the kind of its venue. A flag that both kinds have is that of `M`.
///
/// Invariant: a flag of the other kind is not given, neither on the command line nor in the
/// environment.
#[derive(Clone, Debug)]
pub enum ByVenue<M, C> {
    /// Of an exchange.
    Market(M),
    /// Of the pools of a chain.
    Chain(C),
}

impl<M: Args, C: Args> Args for ByVenue<M, C> {
    fn augment_args(command: Command) -> Command {
        with_more(M::augment_args(command), &flags_of::<C>())
    }

    fn augment_args_for_update(command: Command) -> Command {
        with_more(M::augment_args_for_update(command), &flags_of::<C>())
    }
}

impl<M: Args, C: Args> FromArgMatches for ByVenue<M, C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let (market, chain) = (flags_of::<M>(), flags_of::<C>());
        match matches.get_one::<AnyVenue>(VENUE).copied() {
            Some(AnyVenue::Ethereum) => {
                refuse(matches, &market, &chain, "ethereum", "exchanges")?;
                C::from_arg_matches(matches).map(Self::Chain)
            }
            venue => {
                let name = venue.map_or("an exchange", AnyVenue::as_str);
                refuse(matches, &chain, &market, name, "ethereum")?;
                M::from_arg_matches(matches).map(Self::Market)
            }
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flags alone.
fn flags_of<A: Args>() -> Command {
    A::augment_args(Command::new("flags"))
}

fn has(command: &Command, id: &clap::Id) -> bool {
    command.get_arguments().any(|flag| flag.get_id() == id)
}

/// The command with the flags that it lacks.
fn with_more(command: Command, more: &Command) -> Command {
    let lacking = more.get_arguments().filter(|flag| !has(&command, flag.get_id()));
    let lacking: Vec<_> = lacking.cloned().collect();
    command.args(lacking)
}

/// Refuses flags that `taken` does not have.
fn refuse(
    matches: &ArgMatches,
    given: &Command,
    taken: &Command,
    venue: &str,
    owner: &str,
) -> Result<(), clap::Error> {
    let is_given = |id: &clap::Id| {
        let source = matches.value_source(id.as_str());
        matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    let flags = given.get_arguments().filter(|flag| {
        let id = flag.get_id();
        id.as_str() != VENUE && !has(taken, id) && is_given(id)
    });
    let flags: Vec<_> = flags.filter_map(|flag| Some(format!("--{}", flag.get_long()?))).collect();
    if flags.is_empty() {
        return Ok(());
    }
    let flags = flags.join(", ");
    let words = format!("{flags}: only for {owner}, not for --venue {venue}: leave it out");
    Err(clap::Error::raw(ErrorKind::ArgumentConflict, words))
}
