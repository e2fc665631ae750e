//! A Kafka broker with TLS, SASL, tokens and an authorizer, shared by the tests that
//! sign in; `scripts/kafka help` tells who may come in how.

use std::{
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;

use super::{process::Umbra, wait_for};

/// Runs until the test binary ends, however it ends: `scripts/kafka run` looks after
/// it, and ends when its input does.
pub(crate) struct Secured {
    /// Of the broker: listeners, certificates, logs.
    pub(crate) dir: PathBuf,
    /// Where everybody may do everything.
    plain: String,
    _keeper: (Child, ChildStdin),
    _temp: TempDir,
}

/// One way to sign in.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    /// Its listener's address.
    pub(crate) broker: String,
    /// For `--kafka`.
    pub(crate) properties: Vec<String>,
    /// For `--kafka-token-command`.
    pub(crate) token: Option<String>,
}

impl Secured {
    /// The one of this process. Users may do everything with topics and groups whose
    /// names begin with `open`, and nothing with others.
    #[track_caller]
    pub(crate) fn broker() -> &'static Self {
        static BROKER: OnceLock<Secured> = OnceLock::new();
        BROKER.get_or_init(|| {
            let broker = Self::start();
            let prefixed = ["--resource-pattern-type", "prefixed"];
            let topics = [&["--topic", "open", "--group", "umbra.open"], &prefixed[..]].concat();
            broker.allow(&["scram-user", "plain-user", "tls-user", "token-user"], "All", &topics);
            broker
        })
    }

    fn start() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let output = temp.path().join("output");
        let mut command = Command::new(script());
        command.args(["run", "--security", "--", "sh", "-c"]);
        command.arg("echo \"brokers $UMBRA_TEST_KAFKA\"; exec cat");
        command.env("TMPDIR", temp.path()).env_remove("UMBRA_TEST_KAFKA");
        let file = std::fs::File::create(&output).unwrap();
        command.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file);
        let mut keeper = command.spawn().unwrap();
        let input = keeper.stdin.take().unwrap();
        let read = || std::fs::read_to_string(&output).unwrap_or_default();
        wait_for("the broker runs", || {
            assert!(keeper.try_wait().unwrap().is_none(), "no broker: {}", read());
            read().contains("brokers 127.0.0.1:")
        });
        let told = read();
        let plain = told.lines().find_map(|line| line.strip_prefix("brokers ")).unwrap().to_owned();
        let inside = std::fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().path());
        let dir = inside.filter(|path| path.is_dir()).find(|path| path.join("security").exists());
        Self { dir: dir.unwrap(), plain, _keeper: (keeper, input), _temp: temp }
    }

    /// Lets these users do `operation` with what `resources` name.
    #[track_caller]
    pub(crate) fn allow(&self, users: &[&str], operation: &str, resources: &[&str]) {
        let mut command = Command::new(script());
        command.args(["tool", "AclCommand", "--bootstrap-server", &self.plain, "--add"]);
        command.args(resources).args(["--operation", operation]);
        for user in users {
            command.args(["--allow-principal", &format!("User:{user}")]);
        }
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    pub(crate) fn tls(&self, file: &str) -> String {
        self.dir.join("tls").join(file).display().to_string()
    }

    fn door(&self, listener: &str, properties: &[&str]) -> Door {
        let told = std::fs::read_to_string(self.dir.join("security")).unwrap();
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("{listener}=")));
        let mut all = vec![format!("ssl.ca.location={}", self.tls("ca.crt"))];
        all.extend(properties.iter().map(|one| (*one).to_owned()));
        Door { broker: line.unwrap().to_owned(), properties: all, token: None }
    }

    /// Without a name, and all is allowed.
    pub(crate) fn anybody(&self) -> Door {
        let mut door = self.door("SSL", &[]);
        door.broker.clone_from(&self.plain);
        door
    }

    pub(crate) fn tls_only(&self) -> Door {
        self.door("SSL", &["security.protocol=SSL"])
    }

    pub(crate) fn mtls(&self) -> Door {
        let certificate = format!("ssl.certificate.location={}", self.tls("client.crt"));
        let key = format!("ssl.key.location={}", self.tls("client.key"));
        self.door("MTLS", &["security.protocol=SSL", &certificate, &key])
    }

    /// With the password as it is written after `sasl.password=`.
    pub(crate) fn scram(&self, password: &str) -> Door {
        let password = format!("sasl.password={password}");
        let user = "sasl.username=scram-user";
        let mechanism = "sasl.mechanism=SCRAM-SHA-512";
        self.door("SASL", &["security.protocol=SASL_SSL", mechanism, user, &password])
    }

    pub(crate) fn plain(&self, password: &str) -> Door {
        let password = format!("sasl.password={password}");
        let user = "sasl.username=plain-user";
        self.door("SASL", &["security.protocol=SASL_SSL", "sasl.mechanism=PLAIN", user, &password])
    }

    /// With the token this command prints.
    pub(crate) fn token(&self, command: &str) -> Door {
        Door { token: Some(command.to_owned()), ..self.door("OAUTH", &[]) }
    }
}

impl Door {
    /// The command on `topic`, signing in here. `flag` is `log`, or empty for LOG as
    /// an argument.
    pub(crate) fn enter(&self, umbra: Umbra, flag: &str, topic: &str) -> Umbra {
        let log = format!("kafka://{}/{topic}", self.broker);
        let umbra = if flag.is_empty() { umbra.arg(log) } else { umbra.flag(flag, log) };
        let umbra = self.properties.iter().fold(umbra, |umbra, one| umbra.flag("kafka", one));
        match &self.token {
            Some(command) => umbra.flag("kafka-token-command", command),
            None => umbra,
        }
    }

    /// Another property.
    pub(crate) fn with(mut self, property: &str) -> Self {
        self.properties.push(property.to_owned());
        self
    }
}

/// A command that prints an unsigned token for `token-user` which lives so many
/// seconds, and leaves a line in `runs`.
pub(crate) fn printing(seconds: u32, runs: &Path) -> String {
    format!(
        "echo run >> {}; e() {{ base64 -w0 | tr '+/' '-_' | tr -d '='; }}; \
         printf '%s.%s.' $(printf '{{\"alg\":\"none\"}}' | e) \
         $(printf '{{\"sub\":\"token-user\",\"exp\":%s}}' $(($(date +%s) + {seconds})) | e)",
        runs.display()
    )
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka")
}
