//! Tests the chat over real sockets: one order, exactly-once delivery across reconnects, and the answers to bad input.

use futures::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::support::{Guest, Server, Socket};

pub async fn join(socket: &mut Socket, room: &str, after: Option<Value>) -> Value {
    let mut join = json!({"type":"join","room":room});
    if let Some(after) = after {
        join["after"] = after;
    }
    socket.send(&join).await;
    socket.next_of("joined").await
}

pub async fn send_message(socket: &mut Socket, room: &str, text: &str) -> Value {
    socket
        .send(&json!({"type":"send","id":Uuid::new_v4(),"room":room,"text":text}))
        .await;
    socket.next_of("ack").await
}

/// Repeats `ask` until `wanted` accepts the answer, for ten seconds at most. The search index is written shortly after
/// the messages.
async fn until<T>(ask: impl AsyncFn() -> T, wanted: impl Fn(&T) -> bool) -> T {
    for _ in 0..200 {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    ask().await
}

async fn two(server: &Server) -> (Socket, Socket, Guest, Guest) {
    let (ada, bob) = (server.guest().await, server.guest().await);
    let (mut one, mut two) = (server.chat(&ada).await, server.chat(&bob).await);
    join(&mut one, "lobby", None).await;
    join(&mut two, "lobby", None).await;
    (one, two, ada, bob)
}

#[tokio::test]
async fn a_message_reaches_everybody_in_one_order_and_is_acknowledged() {
    let server = Server::start().await;
    let (mut one, mut two, ada, _) = two(&server).await;
    let (id, room) = (Uuid::new_v4(), "lobby");
    one.send(&json!({"type":"send","id":id,"room":room,"text":"Hello <b>🦀</b>"}))
        .await;
    let (own, ack) = (one.next_of("message").await, one.next_of("ack").await);
    let theirs = two.next_of("message").await;
    assert_eq!(own, theirs);
    assert_eq!(
        (&own["text"], &own["from"]["id"]),
        (&"Hello <b>🦀</b>".into(), &ada.id.into())
    );
    assert_eq!(
        (&ack["id"], &ack["offset"]),
        (&id.to_string().into(), &own["offset"])
    );
}

#[tokio::test]
async fn a_mistyped_or_doubled_parameter_of_a_request_is_refused_and_a_foreign_one_is_not() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let messages = "/api/chat/rooms/lobby/messages";
    for (path, status, field) in [
        (format!("{messages}?LIMIT=0"), 422, "limit"),
        (format!("{messages}?limits=5"), 400, "limits"),
        (format!("{messages}?befor=5"), 400, "befor"),
        (format!("{messages}?limit=5&limit=6"), 400, "limit"),
        (format!("{messages}?limit=x"), 400, "limit"),
        ("/api/chat/rooms/lobby/search?q=a&q=b".into(), 400, "q"),
        ("/api/chat/rooms/lobby/search?query=a".into(), 422, "q"),
        ("/api/jobs?tickte=a".into(), 400, "tickte"),
        ("/api/jobs/upload?Size=x".into(), 422, "size"),
    ] {
        let method = if path.contains("upload") {
            "POST"
        } else {
            "GET"
        };
        let request = server
            .http
            .request(method.parse().unwrap(), server.url(&path));
        let request = request.header("authorization", guest.bearer());
        let request = request.header("content-type", "multipart/form-data; boundary=x");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["field"], field, "{path}: {answer}");
    }
    let path = format!("{messages}?_=1&utm_source=x&Limit=5");
    server.json(&path, Some(&guest)).await;
}

#[tokio::test]
async fn the_same_id_is_stored_once_and_acknowledged_again() {
    let server = Server::start().await;
    let (mut one, mut two, ..) = two(&server).await;
    let send = json!({"type":"send","id":Uuid::new_v4(),"room":"lobby","text":"once"});
    one.send(&send).await;
    let first = one.next_of("ack").await;
    one.send(&send).await;
    assert_eq!(one.next_of("ack").await, first);
    send_message(&mut one, "lobby", "after").await;
    assert_eq!(two.next_of("message").await["text"], "once");
    assert_eq!(two.next_of("message").await["text"], "after");
}

#[tokio::test]
async fn an_id_comes_back_in_the_spelling_of_its_own_command() {
    let server = Server::start().await;
    let (mut one, mut two, ada, _) = two(&server).await;
    let usual = Uuid::now_v7().to_string();
    let first = usual.to_uppercase();
    let spellings = [
        first.clone(),
        usual.clone(),
        usual.replace('-', ""),
        format!("{{{usual}}}"),
        format!("urn:uuid:{usual}"),
    ];
    for spelling in &spellings {
        let send = json!({"type":"send","id":spelling,"room":"lobby","text":"once"});
        one.send(&send).await;
        let ack = one.next_of("ack").await;
        assert_eq!((&ack["id"], &ack["offset"]), (&json!(spelling), &json!(1)));
        // Refused for good, and because of a field that cannot be read.
        for text in [json!(" "), json!(7)] {
            let send = json!({"type":"send","id":spelling,"room":"lobby","text":text});
            one.send(&send).await;
            assert_eq!(one.next_of("error").await["re"], json!(spelling));
        }
        let duplicate = json!({"type":"send","id":spelling,"room":"lobby","text":"mine"});
        two.send(&duplicate).await;
        assert_eq!(two.next_of("error").await["re"], json!(spelling));
    }
    // The message is stored once, in the spelling in which it was stored first, whichever way it is delivered.
    send_message(&mut two, "lobby", "after").await;
    let mut newcomer = server.chat(&ada).await;
    assert_eq!(join(&mut newcomer, "lobby", None).await["replayed"], 2);
    assert_eq!(newcomer.next_of("message").await["id"], json!(first));
    newcomer
        .send(&json!({"type":"history","room":"lobby","before":2,"limit":9}))
        .await;
    let page = newcomer.next_of("history").await;
    assert_eq!(page["messages"][0]["id"], json!(first));
    let path = "/api/chat/rooms/lobby/search?q=once";
    let ask = async || server.json(path, Some(&ada)).await["messages"][0]["id"].clone();
    let found = until(ask, |id| !id.is_null()).await;
    assert_eq!(found, json!(first));
    let page = server.get("/chat").send().await.unwrap().text().await;
    assert!(page.unwrap().contains(&first), "the page continues from it");
}

#[tokio::test]
async fn a_refusal_for_the_rate_has_the_spelling_of_its_command_and_any_spelling_resends_it() {
    let server = Server::with(|settings| settings.limits.messages_per_second = 2).await;
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    join(&mut socket, "lobby", None).await;
    let send = |id: String| json!({"type":"send","id":id,"room":"lobby","text":"x"});
    let (id, wait) = loop {
        let id = Uuid::now_v7().to_string().to_uppercase();
        socket.send(&send(id.clone())).await;
        let answer = next_answer(&mut socket).await;
        if answer["type"] == "error" {
            assert_eq!(
                (&answer["code"], &answer["re"]),
                (&json!("rate_limited"), &json!(id))
            );
            break (id, answer["retry_after_ms"].as_u64().unwrap());
        }
    };
    tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
    // The refused command is sent again in another spelling of its id. It has to come first in the order.
    let other = id.to_lowercase();
    socket.send(&send(other.clone())).await;
    let answer = next_answer(&mut socket).await;
    assert_eq!(
        (&answer["type"], &answer["id"]),
        (&json!("ack"), &json!(other))
    );
}

async fn next_answer(socket: &mut Socket) -> Value {
    loop {
        let answer = socket.next_json().await;
        if answer["type"] == "ack" || answer["type"] == "error" {
            return answer;
        }
    }
}

#[tokio::test]
async fn search_finds_words_in_every_script_and_letters_in_every_case() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    join(&mut socket, "lobby", None).await;
    for text in [
        "今天玩成语接龙游戏",
        "今日は成語しりとりをした",
        "Straße",
        "ไปเที่ยวทะเลกัน",
        "온라인게임을 좋아해요",
    ] {
        send_message(&mut socket, "lobby", text).await;
    }
    for (words, offset) in [
        ("成语接龙", 1),
        ("游戏", 1),
        ("しりとり", 2),
        ("strasse", 3),
        ("ทะเล", 4),
        ("게임", 5),
    ] {
        let ask = async || {
            let request = server
                .get("/api/chat/rooms/lobby/search")
                .query(&[("q", words)])
                .header("authorization", guest.bearer());
            let page: Value = request.send().await.unwrap().json().await.unwrap();
            let offsets = page["messages"].as_array().unwrap().iter();
            offsets
                .map(|message| message["offset"].as_u64().unwrap())
                .collect::<Vec<_>>()
        };
        let found = until(ask, |found| !found.is_empty()).await;
        assert_eq!(found, [offset], "{words}");
    }
    // A character that expands to four words counts as four.
    for (words, status) in [("\u{fdfa} ".repeat(4), 200), ("\u{fdfa} ".repeat(5), 422)] {
        let request = server
            .get("/api/chat/rooms/lobby/search")
            .query(&[("q", &words)])
            .header("authorization", guest.bearer());
        assert_eq!(request.send().await.unwrap().status().as_u16(), status);
    }
}

#[tokio::test]
async fn a_member_who_comes_back_gets_exactly_what_was_missed() {
    let server = Server::start().await;
    let (mut one, mut two, _, bob) = two(&server).await;
    send_message(&mut one, "lobby", "seen").await;
    let seen = two.next_of("message").await["offset"].as_u64().unwrap();
    drop(two);
    for number in 0..5 {
        send_message(&mut one, "lobby", &format!("missed {number}")).await;
    }
    let mut two = server.chat(&bob).await;
    let epoch = join(&mut one, "lobby", None).await["epoch"].clone();
    let joined = join(
        &mut two,
        "lobby",
        Some(json!({"epoch":epoch,"offset":seen})),
    )
    .await;
    assert_eq!(
        (&joined["recovered"], &joined["replayed"], &joined["unread"]),
        (&true.into(), &5.into(), &6.into())
    );
    for number in 0..5 {
        assert_eq!(
            two.next_of("message").await["text"],
            format!("missed {number}")
        );
    }
    for (after, why) in [
        (json!({"epoch":"foreign","offset":1}), "a foreign epoch"),
        (
            json!({"epoch":epoch,"offset":9_999}),
            "an offset above the head",
        ),
    ] {
        let joined = join(&mut two, "lobby", Some(after)).await;
        assert_eq!(joined["recovered"], false, "{why}");
        for _ in 0..joined["replayed"].as_u64().unwrap() {
            two.next_of("message").await;
        }
    }
}

#[tokio::test]
async fn a_member_far_behind_is_caught_up_in_pages_while_others_go_on_talking() {
    let server = Server::with(|settings| settings.limits.messages_per_second = 1_000_000).await;
    let (mut one, mut two, _, bob) = two(&server).await;
    let epoch = join(&mut two, "lobby", None).await["epoch"].clone();
    drop(two);
    let text = "x".repeat(3_000);
    for _ in 0..900 {
        send_message(&mut one, "lobby", &text).await;
    }
    // The member has missed 2.7 MB, more than the out-queue holds.
    let mut two = server.chat(&bob).await;
    let joined = join(&mut two, "lobby", Some(json!({"epoch":epoch,"offset":0}))).await;
    assert_eq!(
        (&joined["recovered"], &joined["replayed"]),
        (&true.into(), &900.into())
    );
    for number in 0..50 {
        send_message(&mut one, "lobby", &format!("live {number}")).await;
    }
    for offset in 1..=950_u64 {
        assert_eq!(two.next_of("message").await["offset"], offset);
    }
}

#[tokio::test]
async fn two_tabs_of_a_user_are_announced_once() {
    let server = Server::start().await;
    let (mut one, mut two, _, bob) = two(&server).await;
    assert_eq!(one.next_of("user_joined").await["user"]["id"], bob.id);
    let mut tab = server.chat(&bob).await;
    let joined = join(&mut tab, "lobby", None).await;
    assert_eq!(joined["members"].as_array().unwrap().len(), 2);
    two.send(&json!({"type":"leave","room":"lobby"})).await;
    one.send(&json!({"type":"send","id":Uuid::new_v4(),"room":"lobby","text":"still two"}))
        .await;
    // An announcement of the second tab would stand before the acknowledgement.
    assert_eq!(one.next_json().await["type"], "message");
    assert_eq!(one.next_json().await["type"], "ack");
    // A leave is broadcast five seconds later, in the order of the leaves: a leave of the first tab would come before
    // this one.
    let other = server.guest().await;
    let mut third = server.chat(&other).await;
    join(&mut third, "lobby", None).await;
    third.send(&json!({"type":"leave","room":"lobby"})).await;
    assert_eq!(one.next_of("user_left").await["user_id"], other.id);
}

#[tokio::test]
async fn read_marks_grow_and_never_pass_the_head() {
    let server = Server::start().await;
    let (mut one, mut two, _, bob) = two(&server).await;
    for text in ["a", "b", "c"] {
        send_message(&mut one, "lobby", text).await;
    }
    for (offset, delivered) in [(2, 2), (99_999, 3)] {
        two.send(&json!({"type":"read","room":"lobby","offset":offset}))
            .await;
        let read = one.next_of("read").await;
        assert_eq!(
            (&read["user_id"], &read["offset"]),
            (&bob.id.clone().into(), &delivered.into())
        );
    }
    two.send(&json!({"type":"read","room":"lobby","offset":1}))
        .await;
    let joined = join(&mut two, "lobby", None).await;
    assert_eq!(
        (&joined["read"][0]["offset"], &joined["unread"]),
        (&3.into(), &0.into())
    );
}

#[tokio::test]
async fn history_and_search_answer_in_pages_newest_first() {
    let server = Server::start().await;
    let (mut one, _, ada, _) = two(&server).await;
    for number in 0..5 {
        send_message(&mut one, "lobby", &format!("number {number}")).await;
    }
    one.send(&json!({"type":"history","room":"lobby","before":4,"limit":2}))
        .await;
    let page = one.next_of("history").await;
    let offsets = |page: &Value| {
        page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["offset"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!((offsets(&page), &page["more"]), (vec![3, 2], &true.into()));
    let get = async |path: &str| {
        let response = server
            .get(path)
            .header("authorization", ada.bearer())
            .send()
            .await
            .unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };
    let (_, page) = get("/api/chat/rooms/lobby/messages?before=3&limit=10").await;
    assert_eq!((offsets(&page), &page["more"]), (vec![2, 1], &false.into()));
    assert_eq!(
        get("/api/chat/rooms/lobby/messages").await.1["messages"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
    let path = "/api/chat/rooms/lobby/search?q=NUMBER%203";
    let found = until(
        async || offsets(&get(path).await.1),
        |found| !found.is_empty(),
    )
    .await;
    assert_eq!(found, [4]);
    let (_, rooms) = get("/api/chat/rooms").await;
    let lobby = rooms
        .as_array()
        .unwrap()
        .iter()
        .find(|room| room["room"] == "lobby")
        .unwrap();
    assert_eq!((&lobby["members"], &lobby["head"]), (&2.into(), &5.into()));
    let search = |words: String| format!("/api/chat/rooms/lobby/search?q={words}");
    for (path, status) in [
        ("/api/chat/rooms/lobby/messages?limit=201", 422),
        ("/api/chat/rooms/lobby/messages?limit=x", 400),
        ("/api/chat/rooms/Not%20a%20room/messages", 404),
        ("/api/chat/rooms/lobby/search?q=", 422),
        (&*search(" a".repeat(16)), 200),
        (&*search(" a".repeat(17)), 422),
        (&*search("%01a".repeat(17)), 422),
        (&*search("ä".repeat(200)), 200),
        (&*search("ä".repeat(201)), 422),
    ] {
        let (answered, answer) = get(path).await;
        assert_eq!(answered, status, "{path}");
        assert_eq!(answer["error"].is_string(), status != 200);
    }
}

#[tokio::test]
async fn bad_input_is_answered_and_the_socket_lives_on() {
    let server = Server::start().await;
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    join(&mut socket, "lobby", None).await;
    let id = Uuid::new_v4();
    for (message, code) in [
        (
            json!({"type":"send","id":id,"room":"lobby","text":""}),
            "invalid_field",
        ),
        (
            json!({"type":"send","id":id,"room":"lobby","text":" \n "}),
            "invalid_field",
        ),
        (
            json!({"type":"send","id":id,"room":"lobby","text":"x".repeat(4_001)}),
            "invalid_field",
        ),
        (
            json!({"type":"send","id":"no uuid","room":"lobby","text":"x"}),
            "invalid_field",
        ),
        (
            json!({"type":"send","id":id,"room":"rust","text":"x"}),
            "not_joined",
        ),
        (json!({"type":"typing","room":"rust"}), "not_joined"),
        (json!({"type":"join","room":"a/b"}), "invalid_field"),
        (json!({"type":"join","room":""}), "invalid_field"),
        (
            json!({"type":"join","room":"x".repeat(33)}),
            "invalid_field",
        ),
        (
            json!({"type":"join","room":"rust","after":{"epoch":"NO","offset":1}}),
            "invalid_field",
        ),
        (
            json!({"type":"read","room":"lobby","offset":-1}),
            "invalid_field",
        ),
        (
            json!({"type":"history","room":"lobby","before":9,"limit":201}),
            "invalid_field",
        ),
        (json!({"type":"dance"}), "unknown_type"),
    ] {
        socket.send(&message).await;
        let error = socket.next_of("error").await;
        assert_eq!(error["code"], code, "{message} {error}");
        if message["id"] == id.to_string() {
            assert_eq!(error["re"], id.to_string());
        }
    }
    socket.send_text("{").await;
    assert_eq!(socket.next_of("error").await["code"], "malformed");
    socket
        .0
        .send(Message::Binary(vec![0, 1, 2].into()))
        .await
        .unwrap();
    assert_eq!(socket.next_of("error").await["code"], "malformed");
    send_message(&mut socket, "lobby", &"ü".repeat(4_000)).await;
}

#[tokio::test]
async fn a_129th_room_is_one_too_many() {
    let server = Server::with(|settings| settings.limits.messages_per_second = 1_000).await;
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    for number in 0..128 {
        join(&mut socket, &format!("room-{number}"), None).await;
    }
    socket.send(&json!({"type":"join","room":"one-more"})).await;
    assert_eq!(socket.next_of("error").await["code"], "too_many_rooms");
    socket.send(&json!({"type":"leave","room":"room-7"})).await;
    join(&mut socket, "one-more", None).await;
}

#[tokio::test]
async fn a_client_beyond_the_rate_may_still_leave_a_room() {
    let server = Server::with(|settings| settings.limits.messages_per_second = 1).await;
    let (guest, other) = (server.guest().await, server.guest().await);
    let (mut socket, mut witness) = (server.chat(&guest).await, server.chat(&other).await);
    join(&mut witness, "den", None).await;
    join(&mut socket, "den", None).await;
    for number in 0..5 {
        let join = json!({"type":"join","room":format!("room-{number}")});
        socket.send(&join).await;
    }
    assert_eq!(socket.next_of("error").await["code"], "rate_limited");
    socket.send(&json!({"type":"leave","room":"den"})).await;
    assert_eq!(witness.next_of("user_left").await["user_id"], guest.id);
}

#[tokio::test]
async fn a_writer_beyond_the_rate_is_refused_with_a_delay_and_the_order_holds() {
    let server = Server::with(|settings| settings.limits.messages_per_second = 5).await;
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    join(&mut socket, "lobby", None).await;
    let sends: Vec<Value> = (0..20).map(|number| json!({"type":"send","id":Uuid::new_v4(),"room":"lobby","text":number.to_string()})).collect();
    for send in &sends {
        socket.send(send).await;
    }
    let (mut acknowledged, mut refused) = (0, None);
    for _ in &sends {
        let answer = loop {
            let answer = socket.next_json().await;
            if answer["type"] == "ack" || answer["type"] == "error" {
                break answer;
            }
        };
        if answer["type"] == "ack" {
            assert!(refused.is_none(), "nothing overtakes what was refused");
            acknowledged += 1;
        } else {
            assert_eq!(
                (&answer["code"], &answer["room"]),
                (&"rate_limited".into(), &"lobby".into())
            );
            let wait = answer["retry_after_ms"].as_u64().unwrap();
            refused.get_or_insert((answer["re"].clone(), wait));
        }
    }
    let (first, wait) = refused.expect("twenty at once are too many");
    assert_eq!(sends[acknowledged]["id"], first);
    // A later message is refused until the first one has been sent again, even when the rate would allow it.
    tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
    socket.send(&sends[acknowledged + 1]).await;
    let error = socket.next_of("error").await;
    assert_eq!(error["re"], sends[acknowledged + 1]["id"]);
    let words = error["message"].as_str().unwrap();
    assert!(words.contains(first.as_str().unwrap()), "{words}");
    for send in &sends[acknowledged..] {
        loop {
            socket.send(send).await;
            let answer = loop {
                let answer = socket.next_json().await;
                if answer["type"] == "ack" || answer["type"] == "error" {
                    break answer;
                }
            };
            if answer["type"] == "ack" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(
                answer["retry_after_ms"].as_u64().unwrap(),
            ))
            .await;
        }
    }
    let path = "/api/chat/rooms/lobby/messages?limit=200";
    let page = server.json(path, Some(&guest)).await;
    let texts: Vec<&str> = page["messages"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|message| message["text"].as_str().unwrap())
        .collect();
    assert_eq!(
        texts,
        (0..20).map(|number| number.to_string()).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_send_refused_before_the_join_does_not_block_later_sends() {
    let server = Server::with(|settings| settings.limits.messages_per_second = 1).await;
    let guest = server.guest().await;
    let mut socket = server.chat(&guest).await;
    let send = |id: Uuid| json!({"type":"send","id":id,"room":"lobby","text":"x"});
    let wait = loop {
        socket.send(&send(Uuid::new_v4())).await;
        let error = socket.next_of("error").await;
        if error["code"] == "rate_limited" {
            break error["retry_after_ms"].as_u64().unwrap();
        }
        assert_eq!(error["code"], "not_joined");
    };
    let a_while = || tokio::time::sleep(std::time::Duration::from_millis(wait.max(1_000)));
    a_while().await;
    join(&mut socket, "lobby", None).await;
    a_while().await;
    socket.send(&send(Uuid::new_v4())).await;
    let answer = loop {
        let answer = socket.next_json().await;
        if answer["type"] == "ack" || answer["type"] == "error" {
            break answer;
        }
    };
    assert_eq!(answer["type"], "ack", "{answer}");
}

#[tokio::test]
async fn typing_is_broadcast_at_a_limited_rate_and_sent_to_newcomers() {
    let server = Server::start().await;
    let (mut one, mut two, ada, _) = two(&server).await;
    for _ in 0..3 {
        one.send(&json!({"type":"typing","room":"lobby"})).await;
    }
    assert_eq!(two.next_of("typing").await["user_id"], ada.id);
    let guest = server.guest().await;
    let mut newcomer = server.chat(&guest).await;
    join(&mut newcomer, "lobby", None).await;
    assert_eq!(newcomer.next_of("typing").await["user_id"], ada.id);
    // The typed message is sent, so nobody is typing any more.
    send_message(&mut one, "lobby", "typed").await;
    assert_eq!(two.next_of("message").await["text"], "typed");
    let guest = server.guest().await;
    let mut latecomer = server.chat(&guest).await;
    join(&mut latecomer, "lobby", None).await;
    assert_eq!(latecomer.next_json().await["type"], "message");
    send_message(&mut one, "lobby", "and on").await;
    assert_eq!(latecomer.next_json().await["text"], "and on");
}

#[tokio::test]
async fn the_id_of_another_persons_message_is_refused() {
    let server = Server::start().await;
    let (mut one, mut two, ..) = two(&server).await;
    let id = Uuid::new_v4();
    for (socket, answer) in [(&mut one, "ack"), (&mut two, "error")] {
        socket
            .send(&json!({"type":"send","id":id,"room":"lobby","text":"mine"}))
            .await;
        let answer = socket.next_of(answer).await;
        assert!(answer["code"].is_null() || answer["code"] == "invalid_field");
    }
}

#[tokio::test]
async fn long_messages_make_short_pages() {
    let server = Server::with(|settings| settings.limits.messages_per_second = 1_000).await;
    let (mut one, mut two, _, bob) = two(&server).await;
    let long = "🦀".repeat(4_000);
    for _ in 0..80 {
        send_message(&mut one, "lobby", &long).await;
        two.next_of("message").await;
    }
    // Fifty of these messages about fill an out-queue, and two hundred exceed it.
    let mut newcomer = server.chat(&bob).await;
    let joined = join(&mut newcomer, "lobby", None).await;
    assert_eq!(joined["replayed"], 50);
    for offset in 31..=80 {
        assert_eq!(newcomer.next_of("message").await["offset"], offset);
    }
    // Ten pages of a quarter of a megabyte each, requested at once, are answered as fast as they are read.
    for _ in 0..10 {
        newcomer
            .send(&json!({"type":"history","room":"lobby","before":81,"limit":200}))
            .await;
    }
    for _ in 0..10 {
        let page = newcomer.next_of("history").await;
        assert_eq!(page["messages"][0]["offset"], 80);
    }
    let mut before = 81;
    while before > 1 {
        newcomer
            .send(&json!({"type":"history","room":"lobby","before":before,"limit":200}))
            .await;
        let page = newcomer.next_of("history").await;
        let messages = page["messages"].as_array().unwrap();
        assert_eq!(messages[0]["offset"], before - 1);
        before -= messages.len() as u64;
        assert_eq!(page["more"], before > 1);
    }
}

#[tokio::test]
async fn the_page_is_rendered_with_the_latest_messages() {
    let server = Server::start().await;
    let (mut one, ..) = two(&server).await;
    for text in ["first <b>words</b>", "and more"] {
        send_message(&mut one, "lobby", text).await;
    }
    for path in ["/chat", "/chat/lobby"] {
        let page = server.get(path).send().await.unwrap().text().await.unwrap();
        let positions = ["first &lt;b&gt;words", "and more"].map(|text| page.find(text));
        assert!(
            positions[0].is_some() && positions[0] < positions[1],
            "{path}"
        );
    }
    let page = server.get("/chat/rust").send().await.unwrap();
    assert!(!page.text().await.unwrap().contains("and more"));
}
