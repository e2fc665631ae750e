//! What is said when a job is to be run again.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use tracing::{Event, Level, Metadata, Subscriber, field::Field, span};
use umbra_replay::{Config, Ended, Standing};

use crate::{
    recording::{MILLI, Recording, THEN, config},
    shadow::{Reply, Shadow},
};

/// Keeps the texts of warnings.
#[derive(Clone, Default)]
struct Warnings {
    told: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut |field: &Field, value: &dyn std::fmt::Debug| {
            text.push_str(&format!("{field}={value:?} "));
        });
        self.told.lock().unwrap().push(text);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Warnings {
    fn of_going_on(&self) -> usize {
        let told = self.told.lock().unwrap();
        told.iter().filter(|text| text.contains("not finished yet")).count()
    }
}

#[tokio::test]
async fn only_a_run_that_was_begun_is_warned_of() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let shadow = Shadow::start(|_| Reply::After(std::time::Duration::from_millis(3))).await;
    let mut recording = Recording::new().await;
    recording.gets(300, THEN, MILLI);
    let mut job = Config { again: true, ..config("again", &[&shadow]) };
    job.targets[0].concurrency = 4;
    recording.flush().await;

    // As a program does that tells its readers when the plan is made.
    let planned = umbra_replay::plan(&job, &recording.log).await.unwrap().planned;
    assert_eq!(planned.standing, Standing::New);
    assert_eq!(recording.replay(job.clone()).await.ended, Ended::Done);
    let planned = umbra_replay::plan(&job, &recording.log).await.unwrap().planned;
    assert_eq!((planned.run, planned.standing), (1, Standing::New));
    let running = recording.start(job.clone()).await;
    shadow.wait_for(330).await;
    running.stop().await;
    assert_eq!(warnings.of_going_on(), 0);

    assert_eq!(recording.replay(job).await.run, 1);
    assert_eq!(warnings.of_going_on(), 1);
    assert_eq!(shadow.seen().len(), 600);
}
