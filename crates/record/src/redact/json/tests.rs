use proptest::prelude::*;

use super::*;

/// Replaces members of one name.
struct Named(&'static str, Edit);

impl Edits for Named {
    fn is_meant(&mut self, path: &[Step]) -> bool {
        path.last() == Some(&Step::Name(self.0.into()))
    }

    fn edit(&mut self, _path: &[Step], _value: &[u8]) -> Edit {
        self.1.clone()
    }
}

fn with(text: &str) -> (String, bool) {
    edited(text.as_bytes(), Edit::With(b"X".to_vec()))
}

fn without(text: &str) -> (String, bool) {
    edited(text.as_bytes(), Edit::Remove)
}

fn edited(text: &[u8], edit: Edit) -> (String, bool) {
    let done = super::edit(text, &mut Named("a", edit));
    (String::from_utf8(done.text).unwrap(), done.whole)
}

#[test]
fn values_are_replaced_where_they_stand() {
    for (text, wanted) in [
        (r#"{"a":1}"#, r#"{"a":X}"#),
        (r#" { "b" : 1.0e5 , "a" : "s" } "#, r#" { "b" : 1.0e5 , "a" : X } "#),
        (r#"{"a":{"a":[1,2,{"x":"}"}]},"b":[{"a":null}]}"#, r#"{"a":X,"b":[{"a":X}]}"#),
        ("{\"\\u0061\":\"\\\"\"}", "{\"\\u0061\":X}"),
        (r#"[[],{},"",[{}]]"#, r#"[[],{},"",[{}]]"#),
        ("{\"a\":1}\n{\"a\":2}\n", "{\"a\":X}\n{\"a\":X}\n"),
        ("\u{feff}{\"a\":1}", "\u{feff}{\"a\":X}"),
        ("", ""),
    ] {
        assert_eq!(with(text), (wanted.to_owned(), true), "{text}");
    }
}

#[test]
fn members_go_with_their_commas_and_elements_leave_null() {
    for (text, wanted) in [
        (r#"{"a":1}"#, r#"{}"#),
        (r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
        (r#"{"b":2,"a":1}"#, r#"{"b":2}"#),
        (r#"{"b":2,"a":1,"c":3,"a":4}"#, r#"{"b":2,"c":3}"#),
        (r#"[{"a":1},{"a":2,"b":[1]}]"#, r#"[{},{"b":[1]}]"#),
    ] {
        assert_eq!(without(text), (wanted.to_owned(), true), "{text}");
    }
    struct Elements;
    impl Edits for Elements {
        fn is_meant(&mut self, path: &[Step]) -> bool {
            path == [Step::Index(1)]
        }
        fn edit(&mut self, _: &[Step], _: &[u8]) -> Edit {
            Edit::Remove
        }
    }
    assert_eq!(super::edit(b"[1,2,3]", &mut Elements).text, b"[1,null,3]");
}

#[test]
fn what_does_not_parse_is_cut_before_it_can_show_anything() {
    for (text, wanted) in [
        (r#"{"b":1,"a":"secr"#, r#"{"b":1,"a":"#),
        (r#"{"b":1,"a":{"x":"secr"#, r#"{"b":1,"a":"#),
        (r#"{"b":1,"a":{"x":[1}}"#, r#"{"b":1,"a":"#),
        (r#"{"b":"abc"#, r#"{"b":"abc"#),
        (r#"{"b":1 x "a":2"#, r#"{"b":1 "#),
        ("a=secret", "a"),
    ] {
        assert_eq!(with(text), (wanted.to_owned(), false), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(!with(&deep).1);
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    assert_eq!(with(&deep), ("{\"a\":".to_owned(), false));
}

proptest! {
    #[test]
    fn bytes_lead_to_no_panic(text in any::<Vec<u8>>()) {
        super::edit(&text, &mut Named("a", Edit::Remove));
    }

    #[test]
    fn json_stays_json(text in r#"(\{"[ab]":|\[|[0-9]|,|"a":|"|\}|\]| |null){0,40}"#) {
        let before = serde_json::from_str::<serde_json::Value>(&text);
        let (after, whole) = without(&text);
        if let Ok(mut value) = before {
            fn strip(value: &mut serde_json::Value) {
                match value {
                    serde_json::Value::Object(map) => {
                        map.shift_remove("a");
                        map.values_mut().for_each(strip);
                    }
                    serde_json::Value::Array(list) => list.iter_mut().for_each(strip),
                    _ => {}
                }
            }
            strip(&mut value);
            prop_assert!(whole);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&after).unwrap(), value);
        }
    }
}
