//! Tokens for SASL OAUTHBEARER, printed by a command of the user's, so that the
//! sign-in of any managed Kafka works without code for it. A thread of its own runs
//! the command and keeps its newest token at hand; clients ask for it when they
//! sign in, and again when most of its life is over.
//!
//! What a command prints is read in [`printed`]. No token is ever shown.

mod hand_over;
mod printed;

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rdkafka::client::OAuthToken;
use tokio_util::sync::CancellationToken;

use self::printed::Token;
use crate::LogError;

pub(super) use hand_over::hand_over;

/// Longest run of the command.
const LONGEST: Duration = Duration::from_secs(20);
/// Pauses after a failure double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A token is fetched anew when this share of its life is over: well before librdkafka
/// asks for it (at 80 %), however slow the command. Who is given the old one a second
/// time signs in for what is left of it, which a broker refuses within a second
/// (KIP-368) and cuts the connection.
const RENEW_AT: f64 = 0.5;
/// No command runs more often.
const LEAST_PAUSE: Duration = Duration::from_millis(500);

/// Keeps a token at hand. Dropping it ends the command and the thread.
pub(super) struct TokenSource {
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// Told of each new token; false: no more.
type Listener = Box<dyn Fn(OAuthToken) -> bool + Send>;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    listeners: Mutex<Vec<Listener>>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// Why the newest run brought none.
    failure: Option<String>,
}

impl TokenSource {
    /// Begins to run `command`, by `sh -c`.
    pub(super) fn start(command: &str) -> Result<Self, LogError> {
        let failed = |error| LogError::Io(format!("no thread for the token command: {error}"));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let stop = CancellationToken::new();
        let thread = thread::Builder::new().name("kafka-token".into()).spawn({
            let (shared, stop, command) = (Arc::clone(&shared), stop.clone(), command.to_owned());
            move || runtime.block_on(keep(&shared, &command, &stop))
        });
        Ok(Self { shared, stop, thread: Some(thread.map_err(failed)?) })
    }

    /// The same, with a first token at hand.
    pub(super) async fn with_first(command: &str) -> Result<Arc<Self>, LogError> {
        let source = Arc::new(Self::start(command)?);
        let first = Arc::clone(&source);
        tokio::task::spawn_blocking(move || first.token())
            .await
            .map_err(|stopped| LogError::Refused(format!("the token command: {stopped}")))?
            .map_err(|why| LogError::Refused(format!("signing in to Kafka: {why}")))?;
        Ok(source)
    }

    /// A token that has not expired; waits for the first one, or for the next if the
    /// last has expired. Not longer than a run of the command may take.
    pub(super) fn token(&self) -> Result<OAuthToken, String> {
        let state = self.shared.state();
        let waiting = |state: &mut State| state.valid().is_none() && state.failure.is_none();
        let waited = self.shared.changed.wait_timeout_while(state, LONGEST, waiting);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match (state.valid(), &state.failure) {
            (Some(token), _) => Ok(token.for_librdkafka()),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Err(format!("the token command brought no token in {LONGEST:?}")),
        }
    }
}

impl TokenSource {
    /// Calls this with each new token, until it returns false.
    pub(super) fn on_token(&self, call: impl Fn(OAuthToken) -> bool + Send + 'static) {
        self.shared.listeners().push(Box::new(call));
    }
}

impl Drop for TokenSource {
    fn drop(&mut self) {
        self.stop.cancel();
        // A listener may have held the last client that needed it: then this is the
        // thread itself, on its way out.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the thread that runs the token command has panicked");
        }
    }
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource").finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, result: Result<Token, String>) {
        match result {
            Ok(token) => {
                *self.state() = State { token: Some(token.clone()), failure: None };
                self.listeners().retain(|listener| listener(token.for_librdkafka()));
            }
            Err(failure) => self.state().failure = Some(failure),
        }
        self.changed.notify_all();
    }
}

impl State {
    fn valid(&self) -> Option<&Token> {
        self.token.as_ref().filter(|token| token.expires_ms > now_ms())
    }
}

/// Runs the command again and again, until told to stop.
async fn keep(shared: &Shared, command: &str, stop: &CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = now_ms();
        let Some(result) = stop.run_until_cancelled(printed::run(command, LONGEST)).await else {
            return;
        };
        let wait = match &result {
            Ok(token) => {
                pause = FIRST_PAUSE;
                let life = token.expires_ms.saturating_sub(began);
                tracing::debug!(life_s = life / 1000, "a new token for Kafka");
                Duration::from_millis(life).mul_f64(RENEW_AT).max(LEAST_PAUSE)
            }
            Err(failure) => {
                let wait = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                if shared.state().valid().is_some() {
                    tracing::warn!(retry_in = ?wait, "the token for Kafka is not renewed: {failure}");
                } else {
                    tracing::error!(retry_in = ?wait, "there is no token for Kafka: {failure}");
                }
                wait
            }
        };
        shared.put(result);
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
