use super::*;

/// `{"sub":"umbra-agent","exp":2000000000}`, unsigned.
const JWT: &str = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1bWJyYS1hZ2VudCIsImV4cCI6MjAwMDAwMDAwMH0.";

#[test]
fn what_commands_print_is_read() {
    let token = printed::read(&format!("{JWT}\n"), 0).expect("a JWT");
    assert_eq!((token.text.as_str(), token.principal.as_str()), (JWT, "umbra-agent"));
    assert_eq!(token.expires_ms, 2_000_000_000_000);
    let json = format!(r#" {{"access_token":"{JWT}","expires_in":90,"token_type":"Bearer"}} "#);
    assert_eq!(printed::read(&json, 1_000).expect("JSON").expires_ms, 91_000);
    let opaque = printed::read(r#"{"access_token":"abc","expires_in":"60"}"#, 0).expect("opaque");
    assert_eq!((opaque.principal.as_str(), opaque.expires_ms), ("umbra", 60_000));
}

#[test]
fn what_is_no_token_is_said_and_not_shown() {
    for (output, about) in [
        ("", "nothing"),
        ("opaque-secret", "expires"),
        ("Bearer secret", "more than a token"),
        ("{\"access_token\":\"secret\"", "no JSON"),
        ("{\"token\":\"secret\"}", "`access_token`"),
        ("{\"access_token\":\"secret\",\"expires_in\":-1}", "expires"),
        ("a.secret.c", "expires"),
    ] {
        let why = printed::read(output, 0).expect_err(output);
        assert!(why.contains(about), "{output}: {why}");
        assert!(!why.contains("secret"), "{why}");
    }
    assert!(!format!("{:?}", printed::read(JWT, 0)).contains(JWT));
}

#[tokio::test]
async fn a_command_is_bounded_and_its_words_are_told() {
    let long = Duration::from_secs(20);
    let run = |command: &'static str| printed::run(command, long);
    let failed = run("echo no such role >&2; echo secret; exit 3").await.expect_err("failed");
    assert!(failed.contains("no such role") && failed.contains('3'), "{failed}");
    assert!(!failed.contains("secret"), "{failed}");
    let much = run("head -c 100000 /dev/zero | tr '\\0' x").await.expect_err("too much");
    assert!(much.contains("65536"), "{much}");
    let old = run(r#"echo '{"access_token":"x","expires_in":0.000001}'"#).await;
    assert!(old.expect_err("expired").contains("expired"));
    // What it started ends with it.
    let short = Duration::from_millis(300);
    let began = std::time::Instant::now();
    let slow = printed::run("echo waiting >&2; sleep 100 | sleep 100", short).await;
    let slow = slow.expect_err("slow");
    assert!(slow.contains("longer") && slow.contains("waiting"), "{slow}");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_token_is_renewed_before_it_expires_and_failures_are_retried() {
    let dir = tempfile::tempdir().expect("a directory");
    let count = dir.path().join("count");
    // The second run fails; each token lives for 2 s.
    let command = format!(
        "echo x >> {0}; n=$(wc -l < {0}); [ $n -ne 2 ] || {{ echo sorry >&2; exit 1; }}; \
         echo '{{\"access_token\":\"token-'$n'\",\"expires_in\":2}}'",
        count.display()
    );
    let source = TokenSource::start(&command).expect("a thread");
    let first = source.token().expect("a token");
    assert_eq!(first.token, "token-1");
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        match source.token() {
            Ok(token) if token.token == "token-3" => break,
            Ok(token) => assert_eq!(token.token, "token-1"),
            Err(why) => assert!(why.contains("sorry"), "{why}"),
        }
        assert!(std::time::Instant::now() < deadline);
        #[expect(clippy::disallowed_methods, reason = "between two looks at a condition")]
        thread::sleep(Duration::from_millis(20));
    }
    // Dropping it ends a command that runs.
    let slow = TokenSource::start("sleep 100").expect("a thread");
    drop(slow);
}
