//! Both notations, prefixes, what is broken.

use proptest::prelude::*;

use super::*;
use crate::{RequestKey, Verdict};

const YAML: &str = "
openapi: 3.1.0
info: {title: Shop, version: '1'}
servers:
  - url: https://shop.example/v2/
  - url: http://localhost:8000/v2
paths:
  /users/{id}:
    parameters: [{name: id, in: path}]
    get: {responses: {'200': {description: ok}}}
    delete:
      responses: {'204': {description: gone}}
  /users/me:
    get: {}
  /files/{name}.json:
    get: {}
  /elsewhere/{x}:
    $ref: 'other.yaml#/x'
x-extra: &anchor [1, {deep: {deeper: {deepest: [1, 2]}}}]
";

#[test]
fn yaml() {
    let endpoints = openapi(YAML.as_bytes()).unwrap();
    let expected = [
        "GET /v2/users/me",
        "GET /v2/users/{id}",
        "DELETE /v2/users/{id}",
        "GET /v2/files/{name}.json",
        "* /v2/elsewhere/{x}",
    ];
    assert_eq!(endpoints, expected);
    let mut verdict = Verdict::default().with_endpoints(&endpoints).unwrap();
    let paths = ["/v2/users/ann", "/v2/users/me", "/v2/users/bob", "/v2/files/a.json", "/x"];
    for (id, path) in paths.into_iter().enumerate() {
        let id = id.to_be_bytes();
        let request = RequestKey { id: &id, method: "GET", path, again: false };
        verdict.compared(&request, &[], None);
    }
    let found: Vec<_> =
        verdict.finish().endpoints.into_iter().map(|e| (e.endpoint, e.compared)).collect();
    let expected = [
        ("GET /v2/files/{name}.json", 1),
        ("GET /v2/users/me", 1),
        ("GET /v2/users/{id}", 2),
        ("GET /x", 1),
    ];
    assert_eq!(found, expected.map(|(name, count)| (name.to_owned(), count)));
}

#[test]
fn json_of_version_two() {
    let text = r#"{"swagger":"2.0","basePath":"/api","paths":{"/a":{"post":{"x":[[[[1]]]]}}}}"#;
    assert_eq!(openapi(text.as_bytes()), Ok(vec!["POST /api/a".to_owned()]));
}

#[test]
fn what_is_wrong_is_told() {
    for (text, expected) in [
        ("", "empty"),
        ("a: [", "neither JSON nor YAML"),
        ("a: 1", "not an OpenAPI description"),
        ("openapi: 3.0.0", "has no paths"),
    ] {
        let problem = openapi(text.as_bytes()).unwrap_err();
        assert!(problem.starts_with(expected), "{text}: {problem}");
    }
    let many: String = (0..2001).map(|at| format!("  /p{at}: {{get: {{}}}}\n")).collect();
    let problem = openapi(format!("openapi: 3.0.0\npaths:\n{many}").as_bytes()).unwrap_err();
    assert_eq!(problem, "2001 endpoints, above 2000");
}

#[test]
fn aliases_do_not_multiply() {
    let mut text = "openapi: 3.0.0\na0: &a0 [x]\n".to_owned();
    for at in 1..40 {
        text += &format!("a{at}: &a{at} [*a{}, *a{}]\n", at - 1, at - 1);
    }
    text += "paths: {/x: *a39}\n";
    assert_eq!(openapi(text.as_bytes()), Ok(vec!["* /x".to_owned()]));
}

proptest! {
    #[test]
    fn nothing_panics(text in "[a-z:{}\\[\\]&*#|>'\"\\- \\n/]{0,80}") {
        let _ = openapi(text.as_bytes());
        let _ = openapi(format!("openapi: 3\npaths:\n{text}").as_bytes());
    }
}
