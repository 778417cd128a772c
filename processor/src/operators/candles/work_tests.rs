//! Work that is left survives the changelog.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn what_is_left_survives_the_changelog(
        clock: Option<i64>, stage in prop::sample::select(&STAGES[..]), next: Vec<u8>, until: i64,
    ) {
        let mark = FeedMark::healthy("1", Timestamp(until), Timestamp(until));
        let work = Work {
            mark: mark.clone(), clock: clock.map(Timestamp), stage, next: next.into(),
        };
        let mut feed = Feed::new(&mark);
        feed.set_work(Some(work));
        prop_assert_eq!(Feed::of_mark(feed.to_mark()), Ok(feed));
    }
}
