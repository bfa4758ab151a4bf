//! Credentials that an application obtains anew for each attempt, such as single-use tickets, and how they get into an address.

use std::{borrow::Cow, fmt, future::Future, rc::Rc};

use super::config::LocalFuture;

/// What authorizes one attempt. `Debug` shows neither the address nor the value.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// The whole address of this attempt. A path (`/…`) belongs to the host of the page. An event stream adds its position.
    Url(String),
    /// A query parameter that is added to the address of the contract, percent-encoded (RFC 3986, section 2.1).
    Query {
        /// The name of the parameter, not yet encoded.
        name: Cow<'static, str>,
        /// The value of the parameter, such as a single-use ticket, not yet encoded.
        value: String,
    },
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::Url(_) => "Url",
            Self::Query { .. } => "Query",
        })
    }
}

impl Credential {
    /// The address of an attempt whose contract has the address `url`.
    pub(super) fn address(&self, url: &str) -> String {
        match self {
            Self::Url(address) => address.clone(),
            Self::Query { name, value } => {
                let parameter = format!("{}={}", percent_encoded(name), percent_encoded(value));
                with_parameter(url, &parameter)
            }
        }
    }
}

/// Obtains the credential of an attempt.
#[derive(Clone)]
pub(super) struct Credentials(Rc<dyn Fn() -> LocalFuture<Result<Credential, String>>>);

impl Credentials {
    pub(super) fn new<F, E>(obtain: impl Fn() -> F + 'static) -> Self
    where
        F: Future<Output = Result<Credential, E>> + 'static,
        E: ToString,
    {
        Self(Rc::new(move || {
            let obtained = obtain();
            Box::pin(async move { obtained.await.map_err(|error| error.to_string()) })
        }))
    }

    pub(super) async fn obtain(&self) -> Result<Credential, String> {
        (self.0)().await
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("Credentials")
    }
}

/// Adds an encoded query parameter to an address. A fragment is dropped, because it is never sent.
pub(super) fn with_parameter(address: &str, parameter: &str) -> String {
    let address = address
        .split_once('#')
        .map_or(address, |(address, _)| address);
    let separator = if address.contains('?') { '&' } else { '?' };
    format!("{address}{separator}{parameter}")
}

/// Encodes all bytes except the unreserved characters of RFC 3986, section 2.3.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte.into());
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(value: &str) -> Credential {
        Credential::Query {
            name: "ticket".into(),
            value: value.into(),
        }
    }

    #[test]
    fn a_parameter_is_encoded_and_added_to_the_address() {
        let address = ticket("a+b/c=&ü#").address("/api/events?symbols=A");
        assert_eq!(
            address,
            "/api/events?symbols=A&ticket=a%2Bb%2Fc%3D%26%C3%BC%23"
        );
        assert_eq!(
            ticket("a-b._~9").address("/api/events#top"),
            "/api/events?ticket=a-b._~9"
        );
    }

    #[test]
    fn a_whole_address_replaces_that_of_the_contract() {
        let elsewhere = Credential::Url("https://example.org/events".into());
        assert_eq!(
            elsewhere.address("/api/events"),
            "https://example.org/events"
        );
    }

    #[test]
    fn debug_output_shows_no_credential() {
        let secret = [ticket("secret"), Credential::Url("/secret".into())];
        assert!(!format!("{secret:?}").contains("secret"));
    }
}
