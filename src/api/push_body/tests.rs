use super::*;

const GOOD: &str = r#"{"id":"op-1","type":"insert","collection":"todos","docId":"doc-1","data":{"a":1},
    "timestamp":5,"clientId":"a","vectorClock":{"a":1}}"#;

fn push_of(operations: &str) -> Text {
    format!(r#"{{"clientId":"a","operations":[{operations}]}}"#).into()
}

fn faults_of(text: impl Into<Text>) -> String {
    let text = text.into();
    match read(&text) {
        Err(ApiError::BadFields(faults)) => faults.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{text} was taken"),
    }
}

#[test]
fn an_operation_under_the_id_of_a_server_is_refused() {
    let by = |client: &str| push_of(&GOOD.replace(r#""clientId":"a""#, &format!(r#""clientId":"{client}""#)));
    for client in ["syncflow-server", "syncflow-server:web-1"] {
        let faults = faults_of(by(client));
        assert!(faults.contains("operations[0].clientId") && faults.contains("reserved"), "{faults}");
    }
    assert!(read(&by("syncflow-servers")).is_ok());
    let pushed_by = |client: &str| push_of(GOOD).replacen(r#""clientId":"a""#, &format!(r#""clientId":"{client}""#), 1);
    assert_eq!(faults_of(pushed_by("syncflow-server::clock")), "clientId: is reserved for the server");
}

#[test]
fn an_operation_is_read_and_its_text_kept() {
    let text = push_of(GOOD);
    let push = read(&text).unwrap();
    assert_eq!(push.texts, [GOOD]);
    let [operation] = &push.operations[..] else { panic!("one operation") };
    assert_eq!(operation.id.as_str(), "op-1");
    assert_eq!(operation.data().map(Object::as_str), Some(r#"{"a":1}"#));
    assert_eq!(operation.timestamp, UnixMs::new(5));
    assert_eq!(operation.clock.json().as_str(), r#"{"a":1}"#);
}

#[test]
fn integers_count_by_value_and_the_last_of_equal_keys() {
    let text = push_of(
        &GOOD
            .replace("\"timestamp\":5", "\"timestamp\":\"x\",\"timestamp\":5.0")
            .replace(r#"{"a":1}}"#, r#"{"a":"x","a":1e0}}"#),
    );
    let push = read(&text).unwrap();
    assert_eq!(push.operations[0].timestamp, UnixMs::new(5));
    assert_eq!(push.operations[0].clock.json().as_str(), r#"{"a":1}"#);
}

#[test]
fn a_delete_needs_no_data_and_ignores_what_it_carries() {
    for data in ["", r#""data":null,"#, r#""data":"\ud800","#] {
        let text = push_of(&GOOD.replace("insert", "delete").replace(r#""data":{"a":1},"#, data));
        assert_eq!(read(&text).unwrap().operations[0].data(), None, "{data}");
    }
}

#[test]
fn every_fault_of_every_operation_is_named() {
    let text = format!(
        r#"{{"operations":[{GOOD},7,{{"id":"","type":"batch","docId":5,"timestamp":0,"vectorClock":{{"":1,"b":-1}}}}]}}"#
    );
    let faults = faults_of(text);
    for fault in [
        "clientId: is missing",
        "operations[1]: must be an object",
        "operations[2].id: must not be empty",
        "operations[2].type: must be insert, update or delete",
        "operations[2].collection: is missing",
        "operations[2].docId: must be a string",
        "operations[2].timestamp: must be an integer from 1 to 9007199254740991",
        "operations[2].clientId: is missing",
        "operations[2].vectorClock.: the client must not be empty",
        "operations[2].vectorClock.b: must be an integer from 0 to 9007199254740991",
    ] {
        assert!(faults.contains(fault), "{fault} is not in {faults}");
    }
    assert!(!faults.contains("operations[0]"), "{faults}");
}

#[test]
fn data_is_a_bounded_object_that_every_store_can_keep() {
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(DATA_MAX_BYTES));
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    for bad in ["null", "[]", "5", "\"{}\"", r#"{"a":"\ud800"}"#, r#"{"a":1e400}"#, r#"{"\u0000":1}"#, &large, &deep] {
        let faults = faults_of(push_of(&GOOD.replace(r#""data":{"a":1}"#, &format!("\"data\":{bad}"))));
        assert!(faults.starts_with("operations[0].data: "), "{faults}");
    }
    assert_eq!(faults_of(push_of(&GOOD.replace(r#""data":{"a":1},"#, ""))), "operations[0].data: is missing");
}

#[test]
fn one_id_stands_for_one_operation_of_a_push_however_it_is_written() {
    let same = GOOD
        .replace(r#""data":{"a":1}"#, r#""data":{"x":2, "a":1.0}"#)
        .replace(r#""timestamp":5"#, r#""timestamp":5.0,"synced":true,"more":1"#);
    let first = GOOD.replace(r#""data":{"a":1}"#, r#""data":{"a":10e-1,"x":2}"#);
    let push = push_of(&format!("{first},{same},{first}"));
    assert_eq!(read(&push).unwrap().operations.len(), 3);
    for (from, to) in [
        (r#""data":{"a":1}"#, r#""data":{"a":2}"#),
        (r#""data":{"a":1}"#, r#""data":{"a":"1"}"#),
        (r#""data":{"a":1}"#, r#""data":{"a":1,"b":null}"#),
        ("insert", "update"),
        ("insert", "delete"),
        ("todos", "other"),
        ("doc-1", "doc-2"),
        (r#""timestamp":5"#, r#""timestamp":6"#),
        (r#""clientId":"a""#, r#""clientId":"b""#),
        (r#"{"a":1}}"#, r#"{"a":2}}"#),
    ] {
        let other = GOOD.replace(from, to);
        assert_ne!(other, GOOD, "{from}");
        let faults = faults_of(push_of(&format!("{GOOD},{GOOD},{other},{GOOD},{other}")));
        let problem = "id: is the id of operations[0] too, which is another operation";
        assert_eq!(faults, format!("operations[2].{problem}; operations[4].{problem}"));
    }
}

#[test]
fn a_partial_push_is_read_without_its_faulty_operations() {
    let other = GOOD.replace(r#""data":{"a":1}"#, r#""data":{"a":2}"#);
    let bad = r#"{"id":"op-2","type":"insert","data":{},"timestamp":1,"vectorClock":{"":1}}"#;
    let list = format!("{GOOD},7,{bad},{other}");
    let text: Text = format!(r#"{{"clientId":"a","partial":true,"operations":[{list}]}}"#).into();
    let ReadPush { texts, operations, partial, is_strict, .. } = read(&text).unwrap();
    assert!(!is_strict);
    let Partial { indexes, faulty } = partial.unwrap();
    assert_eq!((texts.as_slice(), operations.len(), indexes.as_slice()), (&[GOOD][..], 1, &[0][..]));
    let found: Vec<_> = faulty.iter().map(|faulty| (faulty.index, faulty.text, faulty.faults.to_string())).collect();
    let missing = "collection: is missing; docId: is missing; clientId: is missing";
    let clock = "vectorClock.: the client must not be empty";
    let id = "id: is the id of operations[0] too, which is another operation";
    let expected = [
        (1, "7", "must be an object".to_owned()),
        (2, bad, format!("{missing}; {clock}")),
        (3, other.as_str(), id.to_owned()),
    ];
    assert_eq!(found, expected);
    assert_eq!(faulty[0].faults.names().count(), 0);
}

#[test]
fn what_may_build_on_a_faulty_operation_is_refused_with_it() {
    let faulty = GOOD.replace("\"timestamp\":5", "\"timestamp\":0");
    let later = GOOD.replace("op-1", "op-2");
    let elsewhere = GOOD.replace("op-1", "op-3").replace("doc-1", "doc-2");
    let partly = GOOD.replace(r#"{"a":1}}"#, r#"{"a":1,"b":-1}}"#).replace("doc-1", "doc-2");
    let list = [GOOD, &faulty, &later, &elsewhere, &partly, &elsewhere].join(",");
    let text: Text = format!(r#"{{"clientId":"a","partial":true,"operations":[{list}]}}"#).into();
    let Partial { indexes, faulty } = read(&text).unwrap().partial.unwrap();
    assert_eq!(indexes, [0, 3], "the one before the fault, and the one on another document");
    let messages: Vec<String> = faulty.iter().map(|faulty| faulty.faults.to_string()).collect();
    assert!(messages[0].starts_with("timestamp: ") && messages[2].starts_with("vectorClock.b: "), "{messages:?}");
    assert_eq!([&messages[1], &messages[3]], [BUILDS_ON_REFUSED; 2]);
}

#[test]
fn the_id_of_a_faulty_operation_may_be_that_of_its_correction() {
    let faulty = GOOD.replace(r#"{"a":1}}"#, r#"{"a":1,"b":-1}}"#).replace("doc-1", "doc-2");
    for (list, index) in [(format!("{faulty},{GOOD}"), 1), (format!("{GOOD},{faulty}"), 0)] {
        let text: Text = format!(r#"{{"clientId":"a","partial":true,"operations":[{list}]}}"#).into();
        let Partial { indexes, faulty } = read(&text).unwrap().partial.unwrap();
        assert_eq!((indexes, faulty.len()), (vec![index], 1));
        assert!(faulty[0].faults.to_string().starts_with("vectorClock.b: "));
    }
}

#[test]
fn a_push_is_partial_only_if_it_says_so_and_a_fault_outside_its_operations_fails_it() {
    let with = |partial: &str, operations: &str| -> Text {
        format!(r#"{{"clientId":"a","partial":{partial},"operations":{operations}}}"#).into()
    };
    assert!(read(&with("false", &format!("[{GOOD}]"))).unwrap().partial.is_none());
    assert!(read(&push_of(GOOD)).unwrap().partial.is_none());
    assert_eq!(faults_of(with("false", "[7]")), "operations[0]: must be an object");
    assert_eq!(faults_of(with("1", "[]")), "partial: must be true or false");
    assert_eq!(faults_of(with("true", "7")), "operations: must be an array");
    let nobody = format!(r#"{{"partial":true,"operations":[{GOOD}]}}"#);
    assert_eq!(faults_of(nobody), "clientId: is missing");
}

#[test]
fn a_push_is_strict_only_if_it_says_so() {
    for (keys, is_strict) in [
        ("", false),
        (r#","strict":false"#, false),
        (r#","strict":true"#, true),
        (r#","strict":true,"partial":true"#, true),
    ] {
        let text: Text = format!(r#"{{"clientId":"a","operations":[{GOOD}]{keys}}}"#).into();
        assert_eq!(read(&text).unwrap().is_strict, is_strict, "{keys}");
    }
    let text: Text = r#"{"clientId":"a","operations":[],"strict":1}"#.into();
    assert_eq!(faults_of(text), "strict: must be true or false");
}

#[test]
fn names_and_data_are_parts_of_the_body() {
    let text = push_of(GOOD);
    let push = read(&text).unwrap();
    let [Operation { id, change, key, timestamp: _, client_id, clock }] = &push.operations[..] else {
        panic!("one operation")
    };
    let (client, _) = clock.iter().next().unwrap();
    let data = change.data().unwrap().as_str();
    for part in [id.as_str(), key.collection.as_str(), key.id.as_str(), client_id.as_str(), client.as_str(), data] {
        assert!(text.as_bytes().as_ptr_range().contains(&part.as_ptr()), "{part} is a copy");
    }
}

#[test]
fn clocks_and_pushes_are_bounded() {
    let clock = |clients: usize| {
        let counters: Vec<String> = (0..clients).map(|client| format!("\"c{client}\":1")).collect();
        push_of(&GOOD.replace(r#"{"a":1}}"#, &format!("{{{}}}}}", counters.join(","))))
    };
    assert!(read(&clock(CLOCK_MAX_ENTRIES)).is_ok());
    assert!(faults_of(clock(CLOCK_MAX_ENTRIES + 1)).starts_with("operations[0].vectorClock: "));
    let wide = |clients: usize| {
        let counters: Vec<String> = (0..clients).map(|client| format!("\"{client:0>250}\":1")).collect();
        push_of(&GOOD.replace(r#"{"a":1}}"#, &format!("{{{}}}}}", counters.join(","))))
    };
    let most = CLOCK_MAX_BYTES / wide(2).len().abs_diff(wide(1).len());
    assert!(read(&wide(most)).is_ok());
    assert!(faults_of(wide(most + 1)).starts_with("operations[0].vectorClock: must have at most 262144 bytes"));
    let many = |operations: usize| push_of(&vec![GOOD; operations].join(","));
    assert_eq!(read(&many(PUSH_MAX_OPERATIONS)).unwrap().operations.len(), PUSH_MAX_OPERATIONS);
    assert!(faults_of(many(PUSH_MAX_OPERATIONS + 1)).starts_with("operations: must have at most 1000"));
}

#[test]
fn the_clocks_of_a_push_are_bounded_together() {
    let counters: Vec<String> = (0..CLOCK_MAX_ENTRIES).map(|client| format!("\"{client}\":1")).collect();
    let operation = GOOD.replace(r#"{"a":1}}"#, &format!("{{{}}}}}", counters.join(",")));
    let most = PUSH_CLOCKS_MAX_ENTRIES / CLOCK_MAX_ENTRIES;
    assert!(read(&push_of(&vec![operation.as_str(); most].join(","))).is_ok());
    let problem = faults_of(push_of(&vec![operation.as_str(); most + 1].join(",")));
    assert!(
        problem.starts_with(&format!("operations[{most}].vectorClock: has more clients than are left")),
        "{problem}"
    );
}

#[test]
fn the_ids_of_resolutions_are_the_servers_own() {
    let id = "syncflow-server::resolved::op";
    assert_eq!(
        faults_of(push_of(&GOOD.replacen("\"op-1\"", &format!("\"{id}\""), 1))),
        "operations[0].id: is reserved for the server"
    );
}
