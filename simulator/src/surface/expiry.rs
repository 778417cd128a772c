//! The expiries of Deribit's instruments: dates such as `27NOV26`, at 08:00 UTC.

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
/// The hour of an expiry, UTC.
const HOUR: i8 = 8;
/// Days ahead in which expiries are looked for: three years of month ends.
const DAYS_AHEAD: usize = 1_100;
/// Expiries of the next days.
const DAILY: usize = 3;
/// Expiries of the next weeks, on Fridays.
const WEEKLY: usize = 4;

/// The date of a name's part.
///
/// ```
/// use simulator::surface::expiry;
///
/// let date = expiry::parse("4DEC26");
/// assert_eq!(date.map(expiry::name), Some("4DEC26".into()));
/// assert_eq!(expiry::parse("PERPETUAL"), None);
/// ```
pub fn parse(text: &str) -> Option<Date> {
    let (rest, year) = text.split_at_checked(text.len().checked_sub(2)?)?;
    let (day, month) = rest.split_at_checked(rest.len().checked_sub(3)?)?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let (year, month) = (2000 + year.parse::<i16>().ok()?, i8::try_from(month + 1).ok()?);
    Date::new(year, month, day.parse().ok()?).ok()
}

/// The part of a name for a date.
pub fn name(date: Date) -> String {
    let month = usize::try_from(date.month() - 1).ok().and_then(|month| MONTHS.get(month));
    format!("{}{}{:02}", date.day(), month.unwrap_or(&""), date.year() % 100)
}

/// The time of an expiry, in milliseconds since the epoch.
pub fn time_ms(date: Date) -> i64 {
    let time = date.at(HOUR, 0, 0, 0).to_zoned(TimeZone::UTC);
    time.map_or(i64::MAX, |time| time.timestamp().as_millisecond())
}

/// The expiries that are listed at a time, the nearest first: days, Fridays and last Fridays of
/// months, `count` in all.
pub fn listed(now_us: i64, count: usize) -> Vec<Date> {
    let mut dates = Vec::new();
    let mut fridays = 0;
    for (number, date) in ahead(now_us).enumerate() {
        let is_friday = date.weekday() == Weekday::Friday;
        fridays += usize::from(is_friday);
        let is_last = is_friday && next_week(date).is_none_or(|next| next.month() != date.month());
        if dates.len() < count && (number < DAILY || is_last || is_friday && fridays <= WEEKLY) {
            dates.push(date);
        }
    }
    dates
}

/// The next days without an expiry, which are listed later, the nearest first.
pub fn later(now_us: i64, listed: &[Date], count: usize) -> Vec<Date> {
    ahead(now_us).filter(|date| !listed.contains(date)).take(count).collect()
}

/// It is the last Friday of its month, which futures expire on as well.
pub fn is_month_end(date: Date) -> bool {
    let is_last = next_week(date).is_none_or(|next| next.month() != date.month());
    date.weekday() == Weekday::Friday && is_last
}

fn next_week(date: Date) -> Option<Date> {
    date.checked_add(jiff::Span::new().days(7)).ok()
}

/// The days whose expiry is after a time.
fn ahead(now_us: i64) -> impl Iterator<Item = Date> {
    let today = Timestamp::from_microsecond(now_us).unwrap_or_default();
    let first = today.to_zoned(TimeZone::UTC).date();
    let days = std::iter::successors(Some(first), |date| date.tomorrow().ok());
    days.take(DAYS_AHEAD).filter(move |date| time_ms(*date) > now_us / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday, 30 November 2026, 07:59:59 UTC.
    const NOW: i64 = 1_796_025_599_000_000;

    #[test]
    fn an_expiry_is_a_date_at_eight() {
        let ms = |text| parse(text).map(time_ms);
        assert_eq!(ms("27NOV26"), Some(1_795_766_400_000));
        assert_eq!(ms("4DEC26"), Some(1_796_371_200_000));
        assert_eq!((ms("PERPETUAL"), ms(""), ms("31FEB26")), (None, None, None));
    }

    #[test]
    fn days_fridays_and_month_ends_are_listed_until_they_expire() {
        let names = |now| listed(now, 12).into_iter().map(name).collect::<Vec<_>>();
        let before = names(NOW);
        let nearest = ["30NOV26", "1DEC26", "2DEC26", "4DEC26", "11DEC26", "18DEC26", "25DEC26"];
        assert_eq!(before[..7], nearest);
        assert_eq!(before[7..], ["29JAN27", "26FEB27", "26MAR27", "30APR27", "28MAY27"]);
        assert_eq!(names(NOW + 1_000_000)[..3], ["1DEC26", "2DEC26", "3DEC26"]);
        let later = later(NOW, &listed(NOW, 12), 2);
        assert_eq!(later.into_iter().map(name).collect::<Vec<_>>(), ["3DEC26", "5DEC26"]);
    }
}
