//! Validates the fields of the start forms. They are received as text, because only here can an error name its field
//! and range.

use std::{ops::RangeInclusive, time::Duration};

use super::tasks::{Countdown, race::RaceSpec};
use crate::{progress::result::RaceMode, web::error::ApiError};

/// The maximum number of bytes of all payloads that a race sends over one transport, so half of what it sends in all.
/// More would only keep the machine busy.
const RACE_BYTES: u64 = 512 * 1024 * 1024;
/// The longest time of a paced race, in seconds.
const RACE_SECONDS: u64 = 600;

/// The fields of all start forms, as received.
#[derive(Clone, Debug, Default)]
pub struct StartForm {
    pub kind: String,
    pub steps: String,
    pub step_ms: String,
    pub messages: String,
    pub size: String,
    pub rounds: String,
    pub mode: String,
    pub rate: String,
}

/// The job that a start form requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    Countdown(Countdown),
    Race(RaceSpec),
}

impl StartForm {
    /// Reads the fields of the kind. The error (422) names the first field that is out of its range.
    pub fn parse(&self) -> Result<Start, ApiError> {
        match self.kind.as_str() {
            "countdown" => self.countdown().map(Start::Countdown),
            "race" => self.race().map(Start::Race),
            "checksum" => Err(ApiError::field(
                "kind",
                "A checksum starts with its file: POST it to /api/jobs/upload.",
            )),
            other => Err(ApiError::field(
                "kind",
                format!("\"{other}\" is no kind of job. There are: countdown, checksum, race."),
            )),
        }
    }

    fn countdown(&self) -> Result<Countdown, ApiError> {
        let steps = number("steps", "The number of steps", &self.steps, 1..=1_000)?;
        let what = "The length of a step in milliseconds";
        let step_ms = number("step_ms", what, &self.step_ms, 10..=10_000)?;
        Ok(Countdown {
            steps,
            step: Duration::from_millis(step_ms),
        })
    }

    fn race(&self) -> Result<RaceSpec, ApiError> {
        let messages = number(
            "messages",
            "The number of messages",
            &self.messages,
            100..=100_000,
        )?;
        let size = number(
            "size",
            "The size of a message in bytes",
            &self.size,
            16..=65_536,
        )?;
        let rounds = number("rounds", "The number of rounds", &self.rounds, 1..=20)?;
        if messages * size * rounds > RACE_BYTES {
            let most = RACE_BYTES / (size * rounds);
            return Err(ApiError::field(
                "messages",
                format!(
                    "messages × size × rounds may come to 512 MiB: at this size and these rounds, to {most} messages."
                ),
            ));
        }
        let (mode, rate) = match self.mode.as_str() {
            "burst" | "" => (RaceMode::Burst, None),
            "paced" => {
                let what = "The rate in messages a second";
                let rate = number("rate", what, &self.rate, 100..=100_000)?;
                if 2 * messages * rounds / rate > RACE_SECONDS {
                    let least = (2 * messages * rounds).div_ceil(RACE_SECONDS);
                    return Err(ApiError::field(
                        "rate",
                        format!(
                            "At this rate the race would take more than {RACE_SECONDS} s. Set at least {least} messages a second."
                        ),
                    ));
                }
                (RaceMode::Paced, Some(rate))
            }
            _ => {
                return Err(ApiError::field(
                    "mode",
                    "The mode of a race is burst or paced.",
                ));
            }
        };
        Ok(RaceSpec {
            messages,
            size,
            rounds,
            mode,
            rate,
        })
    }
}

fn number(
    field: &str,
    what: &str,
    text: &str,
    range: RangeInclusive<u64>,
) -> Result<u64, ApiError> {
    let parsed = text
        .trim()
        .parse()
        .ok()
        .filter(|number| range.contains(number));
    parsed.ok_or_else(|| {
        let (least, most) = (range.start(), range.end());
        ApiError::field(
            field,
            format!("{what} is a whole number from {least} to {most}."),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(form: StartForm) -> (Option<String>, String) {
        let error = form.parse().unwrap_err();
        assert_eq!(error.status, Some(422));
        (error.field, error.error)
    }

    fn countdown(steps: &str, step_ms: &str) -> StartForm {
        StartForm {
            kind: "countdown".into(),
            steps: steps.into(),
            step_ms: step_ms.into(),
            ..StartForm::default()
        }
    }

    fn race(messages: &str, size: &str, rounds: &str, mode: &str, rate: &str) -> StartForm {
        StartForm {
            kind: "race".into(),
            messages: messages.into(),
            size: size.into(),
            rounds: rounds.into(),
            mode: mode.into(),
            rate: rate.into(),
            ..StartForm::default()
        }
    }

    #[test]
    fn a_bad_field_is_named_with_its_range() {
        let kind = |kind: &str| StartForm {
            kind: kind.into(),
            ..StartForm::default()
        };
        for (form, field, needle) in [
            (kind("magic"), "kind", "countdown, checksum, race"),
            (kind("checksum"), "kind", "/api/jobs/upload"),
            (countdown("", "10"), "steps", "1 to 1000"),
            (countdown("0", "10"), "steps", "1 to 1000"),
            (countdown("1001", "10"), "steps", "1 to 1000"),
            (countdown("ten", "10"), "steps", "1 to 1000"),
            (countdown("1", "9"), "step_ms", "10 to 10000"),
            (countdown("1", "-1"), "step_ms", "10 to 10000"),
            (
                countdown("1", "99999999999999999999"),
                "step_ms",
                "10 to 10000",
            ),
            (
                race("99", "100", "1", "burst", ""),
                "messages",
                "100 to 100000",
            ),
            (race("100", "15", "1", "burst", ""), "size", "16 to 65536"),
            (race("100", "100", "21", "burst", ""), "rounds", "1 to 20"),
            (
                race("100", "100", "1", "slow", ""),
                "mode",
                "burst or paced",
            ),
            (
                race("100", "100", "1", "paced", "99"),
                "rate",
                "100 to 100000",
            ),
            (race("100000", "16", "20", "paced", "100"), "rate", "6667"),
            (race("8193", "65536", "1", "burst", ""), "messages", "8192"),
        ] {
            let (named, error) = refusal(form.clone());
            assert_eq!(named.as_deref(), Some(field), "{form:?}");
            assert!(error.contains(needle), "{error}");
        }
    }

    #[test]
    fn fields_in_their_range_are_accepted() {
        let parsed = countdown(" 10 ", "1000").parse().unwrap();
        let expected = Countdown {
            steps: 10,
            step: Duration::from_secs(1),
        };
        assert_eq!(parsed, Start::Countdown(expected));
        let parsed = race("8192", "65536", "1", "burst", "no matter")
            .parse()
            .unwrap();
        let Start::Race(spec) = parsed else {
            panic!("no race");
        };
        assert_eq!((spec.messages, spec.rate), (8_192, None));
        let Start::Race(spec) = race("100", "16", "1", "paced", "100").parse().unwrap() else {
            panic!("no race");
        };
        assert_eq!((spec.mode, spec.rate), (RaceMode::Paced, Some(100)));
    }
}
