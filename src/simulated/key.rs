//! Owns an API key: whose it is, its state, its faults, and the refusal its state earns. Refuses quotas, which
//! are the project's. Invariant: a key in a state other than good is refused before anything else is looked at.

use super::fault::Fault;
use super::refusal::{self, Refusal};

/// An API key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Name of its project.
    pub project: String,
    /// What Google makes of it.
    pub state: KeyState,
    /// What goes wrong with calls that use it, whatever they ask for.
    pub faults: Vec<Fault>,
    pub(super) calls: u64,
}

/// What Google makes of a key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum KeyState {
    /// Served.
    #[default]
    Good,
    /// 400 "API key not valid.", with the key in the debug detail.
    Bad,
    /// 400 "API Key not found."
    NotFound,
    /// 400 "API key expired."
    Expired,
    /// 403 "reported as leaked".
    Leaked,
    /// 403 CONSUMER_SUSPENDED, with the key three times.
    Suspended,
    /// Every n-th call is 401 UNAUTHENTICATED, as some new keys do for a while.
    Flapping401 {
        /// n; 1 is every call, 0 is none.
        every: u64,
    },
    /// 403 API_KEY_IP_ADDRESS_BLOCKED.
    IpBlocked,
    /// 403 API_KEY_HTTP_REFERRER_BLOCKED.
    ReferrerBlocked,
    /// 403 API_KEY_SERVICE_BLOCKED for these RPCs, such as `StreamGenerateContent`.
    MethodBlocked(Vec<String>),
}

impl Key {
    /// A good key of a project.
    pub fn new(project: &str) -> Self {
        Self { project: project.to_owned(), state: KeyState::Good, faults: Vec::new(), calls: 0 }
    }

    /// Counts a call and says whether the key's state refuses it. `method` is the full name of the RPC.
    pub(super) fn check(
        &mut self,
        key: &str,
        project: u64,
        method: &str,
        referrer: Option<&str>,
    ) -> Result<(), Refusal> {
        self.calls += 1;
        let rpc = method.rsplit('.').next().unwrap_or_default();
        Err(match &self.state {
            KeyState::Bad => bad(key),
            KeyState::NotFound => {
                refusal::key_invalid("key not found", "API Key not found. Please pass a valid API key.", key)
            }
            KeyState::Expired => {
                refusal::key_invalid("key expired", "API key expired. Please renew the API key.", key)
            }
            KeyState::Leaked => refusal::leaked(),
            KeyState::Suspended => refusal::suspended(key, project),
            KeyState::Flapping401 { every } if *every > 0 && self.calls.is_multiple_of(*every) => {
                refusal::unauthenticated("flapping", method)
            }
            KeyState::IpBlocked => refusal::address_blocked(project),
            KeyState::ReferrerBlocked => refusal::referrer_blocked(project, referrer),
            KeyState::MethodBlocked(rpcs) if rpcs.iter().any(|blocked| blocked == rpc) => {
                refusal::method_blocked(project, method)
            }
            KeyState::Good | KeyState::Flapping401 { .. } | KeyState::MethodBlocked(_) => return Ok(()),
        })
    }
}

/// What a key gets that Google does not know, or no longer.
pub(super) fn bad(key: &str) -> Refusal {
    refusal::key_invalid("key not valid", "API key not valid. Please pass a valid API key.", key)
}

#[cfg(test)]
mod tests {
    use super::super::ask::Shape;
    use super::*;

    const METHOD: &str = "google.ai.generativelanguage.v1beta.GenerativeService.StreamGenerateContent";

    fn refused(state: KeyState) -> Option<(u16, String)> {
        let mut key = Key { state, ..Key::new("p") };
        let refusal = key.check("AIza-k", 42, METHOD, None).err()?;
        Some((refusal.status, String::from_utf8(refusal.body(Shape::Plain).to_vec()).unwrap()))
    }

    #[test]
    fn every_state_has_googles_body() {
        let cases = [
            (KeyState::Bad, 400, "\"Invalid API key: AIza-k\""),
            (KeyState::NotFound, 400, "API Key not found."),
            (KeyState::Expired, 400, "API key expired. Please renew the API key."),
            (KeyState::Leaked, 403, "reported as leaked"),
            (KeyState::Suspended, 403, "\"reason\": \"CONSUMER_SUSPENDED\""),
            (KeyState::Flapping401 { every: 1 }, 401, "\"reason\": \"ACCESS_TOKEN_TYPE_UNSUPPORTED\""),
            (KeyState::IpBlocked, 403, "\"reason\": \"API_KEY_IP_ADDRESS_BLOCKED\""),
            (KeyState::ReferrerBlocked, 403, "Requests from referer \\u003cempty\\u003e are blocked."),
            (
                KeyState::MethodBlocked(vec!["StreamGenerateContent".into()]),
                403,
                "\"methodName\": \"google.ai",
            ),
        ];
        for (state, status, needle) in cases {
            let (found, body) = refused(state.clone()).unwrap();
            assert_eq!(found, status, "{state:?}");
            assert!(body.contains(needle), "{state:?}: {body}");
            assert!(body.starts_with("{\n  \"error\": {\n    \"code\": "), "{body}");
        }
        assert_eq!(refused(KeyState::Good), None);
        assert_eq!(refused(KeyState::MethodBlocked(vec!["CountTokens".into()])), None);
    }

    #[test]
    fn a_suspended_key_is_echoed_three_times_and_a_leaked_one_never() {
        assert_eq!(refused(KeyState::Suspended).unwrap().1.matches("AIza-k").count(), 3);
        assert_eq!(refused(KeyState::Leaked).unwrap().1.matches("AIza-k").count(), 0);
    }

    #[test]
    fn flapping_refuses_every_nth_call() {
        let mut key = Key { state: KeyState::Flapping401 { every: 3 }, ..Key::new("p") };
        let refused: Vec<bool> = (0..6).map(|_| key.check("k", 1, METHOD, None).is_err()).collect();
        assert_eq!(refused, [false, false, true, false, false, true]);
    }
}
