//! Values that were sealed at capture: into the request sent, and nowhere else.

use std::sync::Arc;

use prost::Message as _;
use tokio_util::sync::CancellationToken;
use umbra_record::{
    pb::{self, record::Body},
    redact::{Action, Redaction, Rules, Secrets},
    seal::{DataKey, Sealer, TABLE, wrap::Identities},
};
use umbra_replay::{Closed, ReplayError, Target, Unsealing, dry_run};

use crate::{recording::*, shadow::Shadow};

const TOKEN: &str = "Bearer a-secret-of-the-user";

struct Sealed {
    recording: Recording,
    identities: Identities,
    sealer: Sealer,
}

impl Sealed {
    /// A log whose requests carry a sealed credential each, and one without.
    async fn new() -> Self {
        let recording = Recording::new().await;
        let identities = Identities::generate();
        let key = DataKey::generate("2026-11-22.k".to_owned()).unwrap();
        let entry = pb::DataKey {
            id: key.id().to_owned(),
            recipients: identities.recipients().names(),
            wrapped: identities.recipients().wrap(&key).unwrap().into(),
            ..pb::DataKey::default()
        };
        let table = recording.log.table(TABLE).await.unwrap();
        table.put(key.id(), &entry.encode_to_vec()).await.unwrap();
        let mut sealed =
            Self { recording, identities, sealer: Sealer::new(Arc::new(key)).unwrap() };
        for number in 0..20 {
            sealed.request(&format!("{number}"), THEN + number * MILLI);
        }
        sealed.recording.flush().await;
        sealed
    }

    fn request(&mut self, name: &str, at: u64) {
        let mut request = self.recording.make(name, at, 0, 0);
        let rules = Rules { credentials: Action::Seal, redact: Vec::new() };
        let redaction = Redaction::new(&rules).unwrap();
        let id = request.id.clone();
        let mut secrets = Secrets::new(&id, None, Some(&mut self.sealer));
        let headers = vec![("Host", "api.example"), ("Authorization", TOKEN)];
        let head = redaction.head(None, &headers, &mut secrets).unwrap();
        let field = |(name, value): &(&[u8], std::borrow::Cow<'_, [u8]>)| pb::Header {
            name: name.to_vec().into(),
            value: value.to_vec().into(),
        };
        request.headers = head.headers.iter().map(field).collect();
        request.sealed = secrets.sealed;
        self.recording.request(request);
    }

    fn unsealing(&self, closed: Closed) -> Unsealing {
        Unsealing { identities: Some(self.identities.clone()), closed }
    }
}

fn stopped(result: Result<umbra_replay::Report, ReplayError>) -> String {
    match result {
        Err(error @ ReplayError::Sealed { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed_values_reach_the_request_sent_and_nothing_else() {
    let sealed = Sealed::new().await;
    let (trusted, other) = (Shadow::ok().await, Shadow::ok().await);
    let mut job = config("sealed", &[&trusted, &other]);
    job.unsealing = sealed.unsealing(Closed::Stop);
    job.targets[1].unseal = false;
    let outcomes = sealed.recording.dir.path().join("outcomes.jsonl");
    job.outcomes = Some(outcomes.clone());
    let dry =
        dry_run(&job, &sealed.recording.log, CancellationToken::new()).await.unwrap().unwrap();
    assert_eq!((dry.targets["t0"].unsealed, dry.targets["t1"].sealed_omitted), (20, 20));
    assert_eq!((dry.keys["2026-11-22.k"].values, &dry.keys["2026-11-22.k"].closed), (20, &None));

    let report = sealed.recording.replay(job).await;
    let count = |name: &str| (report.targets[name].unsealed, report.targets[name].sealed_omitted);
    assert_eq!((count("t0"), count("t1")), ((20, 0), (0, 20)));
    assert_eq!(report.targets["t0"].sent, 20);
    let tokens = |shadow: &Shadow| {
        let seen = shadow.seen();
        seen.iter().filter(|one| one.header("authorization") == Some(TOKEN.as_bytes())).count()
    };
    assert_eq!((tokens(&trusted), tokens(&other)), (20, 0));
    assert!(other.seen().iter().all(|one| one.header("authorization").is_none()));
    let told = std::fs::read_to_string(outcomes).unwrap();
    assert_eq!(told.lines().count(), 40);
    assert!(!told.contains("a-secret-of-the-user"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_key_a_replay_stops_before_it_sends_or_goes_on_without() {
    let sealed = Sealed::new().await;
    let shadow = Shadow::ok().await;
    let job = |name: &str, unsealing: Unsealing| {
        let mut job = config(name, &[&shadow]);
        job.unsealing = unsealing;
        job
    };
    let none = Unsealing::default();
    let told = stopped(sealed.recording.try_replay(job("none", none.clone())).await);
    let recipient = &sealed.identities.recipients().names()[0];
    assert!(told.contains("2026-11-22.k") && told.contains(recipient), "{told}");
    let stranger = Unsealing { identities: Some(Identities::generate()), closed: Closed::Stop };
    let told = stopped(sealed.recording.try_replay(job("stranger", stranger)).await);
    assert!(told.contains("the identities given"), "{told}");
    assert_eq!(shadow.seen().len(), 0, "nothing was sent");

    let omit = Unsealing { closed: Closed::Omit, ..none };
    let report = sealed.recording.replay(job("omit", omit)).await;
    assert_eq!((report.targets["t0"].sent, report.targets["t0"].sealed_omitted), (20, 20));
    assert!(shadow.seen().iter().all(|one| one.header("authorization").is_none()));

    // Who is not given them needs no key.
    let mut without = job("without", Unsealing::default());
    without.targets = without.targets.into_iter().map(|t| Target { unseal: false, ..t }).collect();
    assert_eq!(sealed.recording.replay(without).await.targets["t0"].sent, 20);

    let table = sealed.recording.log.table(TABLE).await.unwrap();
    table.remove(&["2026-11-22.k".to_owned()]).await.unwrap();
    let told =
        stopped(sealed.recording.try_replay(job("erased", sealed.unsealing(Closed::Stop))).await);
    assert!(told.contains("erased"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sealed_behind_a_head_is_foreseen() {
    let mut sealed = Sealed::new().await;
    let shadow = Shadow::ok().await;
    // One that was received whole, and one that was broken off.
    for (number, last) in [(0, true), (1, false)] {
        let at = THEN + SECOND;
        let mut request = sealed.recording.make("open", at, number, 0);
        request.completeness = pb::Completeness::Open as i32;
        let id = request.id.clone();
        sealed.recording.request(request);
        let value = sealed.sealer.seal(&id, "json:/a".to_owned(), 0, b"\"behind\"");
        let completeness = match last {
            true => pb::Completeness::Complete,
            false => pb::Completeness::Aborted,
        };
        let part = pb::BodyPart {
            id,
            data: r#"{"a":"umbra-sealed"}"#.into(),
            last,
            aborted: !last,
            completeness: completeness as i32,
            sealed: vec![value],
            ..pb::BodyPart::default()
        };
        sealed.recording.append(number as u32, at, Body::Part(part));
    }
    sealed.recording.flush().await;
    let mut job = config("behind", &[&shadow]);
    job.unsealing = sealed.unsealing(Closed::Stop);
    let foreseen =
        dry_run(&job, &sealed.recording.log, CancellationToken::new()).await.unwrap().unwrap();
    let report = sealed.recording.replay(job).await;
    assert_eq!((foreseen.targets["t0"].unsealed, report.targets["t0"].unsealed), (21, 21));
    assert_eq!(foreseen.keys["2026-11-22.k"].values, 21);
    assert!(shadow.seen().iter().any(|one| one.body == br#"{"a":"behind"}"#));
}
