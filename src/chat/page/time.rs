//! Days and times of messages: rendered in UTC by the server, in the reader's time zone once the browser runs.

use leptos::prelude::*;

use realtime::client::live_text;

const DAY_MS: i64 = 86_400_000;
const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The reader's calendar, in the context of the page.
#[derive(Clone, Copy)]
pub struct Calendar {
    /// Today in the reader's time zone, in days since 1970; `None` until the browser runs.
    today: RwSignal<Option<i64>>,
}

impl Calendar {
    pub fn new() -> Self {
        let this = Self {
            today: RwSignal::new(None),
        };
        Effect::new(move |_| this.turn());
        this
    }

    /// Updates the present day; a new one changes which day is called "Today".
    pub fn turn(self) {
        let today = Some(local_day(js_sys::Date::now() as u64));
        if self.today.try_with_untracked(|known| *known != today) == Some(true) {
            self.today.set(today);
        }
    }

    /// Converts Unix milliseconds into days since 1970: in the reader's time zone if it is known, else in UTC.
    pub fn day_of(self) -> impl Fn(u64) -> i64 {
        let local = self.today.with(Option::is_some);
        move |at| {
            if local {
                local_day(at)
            } else {
                at as i64 / DAY_MS
            }
        }
    }

    fn name_of(self, day: i64) -> String {
        match self.today.get() {
            Some(today) if day == today => "Today".to_owned(),
            Some(today) if day + 1 == today => "Yesterday".to_owned(),
            _ => day_in_words(day),
        }
    }

    fn clock(self, at: u64) -> String {
        let minutes = if self.today.with(Option::is_some) {
            let date = js_sys::Date::new(&(at as f64).into());
            u64::from(date.get_hours() * 60 + date.get_minutes())
        } else {
            at / 60_000 % 1_440
        };
        format!("{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// A time of day.
#[component]
pub fn Clock(at: u64) -> impl IntoView {
    let calendar = expect_context::<Calendar>();
    view! { <time {..live_text(move || calendar.clock(at))} class="quiet clock" datetime=iso(at) translate="no"></time> }
}

/// The line above the first message of a day.
#[component]
pub fn Day(day: i64) -> impl IntoView {
    let calendar = expect_context::<Calendar>();
    view! { <p class="day" data-test="day"><span {..live_text(move || calendar.name_of(day))}></span></p> }
}

fn local_day(at: u64) -> i64 {
    let date = js_sys::Date::new(&(at as f64).into());
    // JavaScript's offset is UTC minus local time, in minutes.
    (at as i64 - (date.get_timezone_offset() * 60_000.0) as i64).div_euclid(DAY_MS)
}

fn day_in_words(day: i64) -> String {
    let (year, month, day_of_month) = date(day);
    // The first of January 1970 was a Thursday.
    let weekday = WEEKDAYS[(day + 3).rem_euclid(7) as usize];
    format!(
        "{weekday} {day_of_month} {} {year}",
        MONTHS[month as usize - 1]
    )
}

fn iso(at: u64) -> String {
    let (year, month, day) = date(at as i64 / DAY_MS);
    let seconds = at / 1_000 % 86_400;
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, day_of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_names() {
        for (day, words) in [
            (0, "Thursday 1 January 1970"),
            (11_016, "Tuesday 29 February 2000"),
            (20_780, "Monday 23 November 2026"),
            (-1, "Wednesday 31 December 1969"),
        ] {
            assert_eq!(day_in_words(day), words);
        }
    }

    #[test]
    fn a_time_is_written_as_machines_read_it() {
        assert_eq!(iso(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso(1_795_430_123_456), "2026-11-23T10:35:23Z");
    }
}
