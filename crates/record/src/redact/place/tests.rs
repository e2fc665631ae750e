use super::*;

fn name(name: &str) -> Step {
    Step::Name(name.into())
}

#[test]
fn places_read_as_they_are_written() {
    for (typed, canonical) in [
        ("header:X-Key", "header:x-key"),
        ("cookie:Sid", "cookie:Sid"),
        ("query:a=b", "query:a=b"),
        ("form:f", "form:f"),
        ("json:.users[].token", "json:users.*.token"),
        ("json:**.secret", "json:**.secret"),
        ("json:[].a", "json:*.a"),
        ("tokens", "tokens"),
    ] {
        assert_eq!(Place::parse(typed).unwrap().to_string(), canonical);
    }
    for typed in [
        "x",
        "header:",
        "header:a b",
        "body:x",
        "json:a..b",
        "json:a.**",
        "json:**.a.**.b",
        "cookie:",
    ] {
        let problem = Place::parse(typed).unwrap_err();
        assert!(problem.contains(&format!("`{typed}`")), "{problem}");
    }
}

#[test]
fn paths_match_values() {
    let path = |text: &str| match Place::parse(&format!("json:{text}")).unwrap() {
        Place::Json(path) => path,
        other => panic!("{other}"),
    };
    let steps = [name("users"), Step::Index(3), name("Token")];
    for text in
        ["users.*.token", "users.3.token", "**.token", "*.*.*", "users[].token", "**.*.token"]
    {
        assert!(path(text).matches(&steps), "{text}");
    }
    for text in ["users.token", "users.*", "token", "**.users", "users.4.token"] {
        assert!(!path(text).matches(&steps), "{text}");
    }
    assert!(path("**.token").matches(&[name("token")]));
    assert!(!path("**.token").matches(&[]));
}

#[test]
fn the_preset_knows_secrets_by_name() {
    for secret in [
        "Password",
        "new_password",
        "API_KEY",
        "refreshToken",
        "csrf-token",
        "sig",
        "user[password]",
        "password[]",
    ] {
        assert!(is_token_name(secret.as_bytes()), "{secret}");
    }
    for harmless in ["tokens_left", "design", "name", "key", "", "[]", "token[name]"] {
        assert!(!is_token_name(harmless.as_bytes()), "{harmless}");
    }
}
