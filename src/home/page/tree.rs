//! The decision tree: questions that lead to a kind of application, and to its transport.

use leptos::prelude::*;
use leptos_router::components::A;

use crate::ui::erase::Erase;
use realtime::client::live_text;

/// A question and its answers.
pub struct Question {
    /// The name of the group of its answers.
    id: &'static str,
    text: &'static str,
    answers: &'static [Answer],
}

pub struct Answer {
    text: &'static str,
    next: Next,
}

#[derive(Clone, Copy)]
pub enum Next {
    Ask(&'static Question),
    Take(&'static Outcome),
}

/// The result at the end of the questions.
pub struct Outcome {
    name: &'static str,
    transport: &'static str,
    reason: &'static str,
    /// The page that shows it; `None` if it needs no live connection.
    page: Option<&'static str>,
}

/// The given answers, from the first question on: the index of each among the answers of its question. An answer deep
/// in the tree implies the answers that lead to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(Vec<usize>);

impl Answers {
    fn include(&self, path: &[usize]) -> bool {
        self.0.starts_with(path)
    }

    /// The question or result that follows from the answers; `None` for a path that does not exist.
    fn next(&self, root: &'static Question) -> Option<Next> {
        self.0.iter().try_fold(Next::Ask(root), |next, index| {
            let Next::Ask(question) = next else {
                return None;
            };
            question.answers.get(*index).map(|answer| answer.next)
        })
    }

    /// The state in a sentence, for users who do not see the picture.
    fn words(&self) -> String {
        match self.next(&ROOT) {
            _ if self.0.is_empty() => "Choose an answer; the way to it lights up.".to_owned(),
            Some(Next::Ask(question)) => format!("Next: {}", question.text),
            Some(Next::Take(outcome)) => format!("{}: {}.", outcome.name, outcome.transport),
            None => String::new(),
        }
    }
}

static ROOT: Question = Question {
    id: "sends",
    text: "Does the browser need to send?",
    answers: &[
        Answer {
            text: "It asks once",
            next: Next::Take(&FETCH),
        },
        Answer {
            text: "No, it listens",
            next: Next::Ask(&LISTENS),
        },
        Answer {
            text: "Yes, while it listens",
            next: Next::Ask(&SENDS),
        },
    ],
};

static LISTENS: Question = Question {
    id: "hears",
    text: "How often does it hear something?",
    answers: &[
        Answer {
            text: "Now and then",
            next: Next::Take(&NOTIFICATIONS),
        },
        Answer {
            text: "All the time",
            next: Next::Take(&MONITORING),
        },
        Answer {
            text: "Until a task is done",
            next: Next::Take(&PROGRESS),
        },
    ],
};

static SENDS: Question = Question {
    id: "often",
    text: "How often does it send?",
    answers: &[
        Answer {
            text: "When somebody has something to say",
            next: Next::Take(&CHAT),
        },
        Answer {
            text: "Many times a second",
            next: Next::Ask(&LOSES),
        },
    ],
};

static LOSES: Question = Question {
    id: "loses",
    text: "What if one message is lost?",
    answers: &[
        Answer {
            text: "The next one replaces it",
            next: Next::Take(&GAMES),
        },
        Answer {
            text: "Each one counts",
            next: Next::Take(&COLLABORATION),
        },
    ],
};

static FETCH: Outcome = Outcome {
    name: "A question and an answer",
    transport: "fetch",
    reason: "A request is enough. Ask again when somebody looks again.",
    page: None,
};

static NOTIFICATIONS: Outcome = Outcome {
    name: "Notifications",
    transport: "SSE",
    reason: "Idle most of the time, and after a break the browser asks for what it missed.",
    page: Some("/ticker"),
};

static MONITORING: Outcome = Outcome {
    name: "Monitoring",
    transport: "SSE",
    reason: "The newest value counts: a slow reader skips the ones between, and never falls behind.",
    page: Some("/ticker"),
};

static PROGRESS: Outcome = Outcome {
    name: "Progress",
    transport: "SSE",
    reason: "A short log with an end. Whoever comes late gets the state, then the rest.",
    page: Some("/progress"),
};

static CHAT: Outcome = Outcome {
    name: "Chat",
    transport: "WebSocket",
    reason: "Both sides speak at any time, in one order, and every message is acknowledged.",
    page: Some("/chat"),
};

static GAMES: Outcome = Outcome {
    name: "Games",
    transport: "WebSocket",
    reason: "Small messages both ways, and the newest place is all that matters. Where packets get lost: WebTransport.",
    page: Some("/collab"),
};

static COLLABORATION: Outcome = Outcome {
    name: "Collaboration",
    transport: "WebSocket",
    reason: "Edits in binary both ways; a CRDT merges them in whatever order they arrive.",
    page: Some("/collab"),
};

#[component]
pub fn DecisionTree() -> impl IntoView {
    let answers = RwSignal::new(Answers::default());
    let begun = move || answers.with(|answers| !answers.0.is_empty());
    view! {
        <section aria-labelledby="decision">
            <h2 id="decision">"Which one do you need?"</h2>
            <div class="tree" data-begun=move || begun().then_some("") data-test="tree">
                {ask(&ROOT, vec![], answers)}
            </div>
            <p class="tree-words">
                <span {..live_text(move || answers.with(Answers::words))} role="status" data-test="tree-words"></span>
                <Show when=begun>
                    <button type="button" class="small" data-test="tree-again" on:click=move |_| answers.set(Answers::default())>"Start over"</button>
                </Show>
            </p>
        </section>
    }
    .erase()
}

/// A question that is reached by `path`, with everything below it.
fn ask(question: &'static Question, path: Vec<usize>, answers: RwSignal<Answers>) -> AnyView {
    let text = format!("question-{}", question.id);
    let branches = question.answers.iter().enumerate();
    let branches = branches.map(|(index, answer)| {
        let mut path = path.clone();
        path.push(index);
        branch(question, answer, path, answers)
    });
    view! {
        <div class="question" role="group" aria-labelledby=text.clone()>
            <p id=text.clone()>{question.text}</p>
            <ul role="list">{branches.collect_view()}</ul>
        </div>
    }
    .erase()
}

fn branch(
    question: &'static Question,
    answer: &'static Answer,
    path: Vec<usize>,
    answers: RwSignal<Answers>,
) -> impl IntoView {
    let (given, chosen) = (path.clone(), path.clone());
    let given = Memo::new(move |_| answers.with(|answers| answers.include(&given)));
    let below = match answer.next {
        Next::Ask(next) => ask(next, path, answers),
        Next::Take(outcome) => view! { <TreeOutcome outcome/> }.erase(),
    };
    view! {
        <li data-given=move || given.get().then_some("")>
            <label class="answer">
                <input type="radio" name=question.id autocomplete="off" prop:checked=given
                    on:change=move |_| answers.set(Answers(chosen.clone()))/>
                {answer.text}
            </label>
            {below}
        </li>
    }
}

#[component]
fn TreeOutcome(outcome: &'static Outcome) -> impl IntoView {
    let page = |href| view! { " " <A href=href>"See it at "{href}</A> };
    let live = outcome.page.map(|_| outcome.transport);
    view! {
        <div class="outcome" data-test="outcome" data-name=outcome.name>
            <p><strong>{outcome.name}</strong> <span class="badge" data-transport=live>{outcome.transport}</span></p>
            <p>{outcome.reason} {outcome.page.map(page)}</p>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All paths that end in an outcome.
    fn leaves(question: &'static Question, path: &[usize]) -> Vec<(Vec<usize>, &'static Outcome)> {
        let answers = question.answers.iter().enumerate();
        let below = answers.flat_map(|(index, answer)| {
            let path = [path, &[index]].concat();
            match answer.next {
                Next::Ask(next) => leaves(next, &path),
                Next::Take(outcome) => vec![(path, outcome)],
            }
        });
        below.collect()
    }

    #[test]
    fn every_outcome_is_reached_by_its_answers_and_no_other() {
        let leaves = leaves(&ROOT, &[]);
        let names: Vec<_> = leaves.iter().map(|(_, outcome)| outcome.name).collect();
        assert_eq!(
            names,
            [
                FETCH.name,
                NOTIFICATIONS.name,
                MONITORING.name,
                PROGRESS.name,
                CHAT.name,
                GAMES.name,
                COLLABORATION.name
            ]
        );
        for (path, outcome) in leaves {
            let next = Answers(path.clone()).next(&ROOT);
            assert!(matches!(next, Some(Next::Take(taken)) if taken.name == outcome.name));
            let beyond = Answers([path.as_slice(), &[0]].concat());
            assert!(beyond.next(&ROOT).is_none(), "nothing follows an outcome");
        }
    }

    #[test]
    fn an_answer_lights_the_way_to_it_and_nothing_beside_it() {
        let answers = Answers(vec![2, 1]);
        assert!(answers.include(&[2]) && answers.include(&[2, 1]));
        assert!(!answers.include(&[1]) && !answers.include(&[2, 0]));
        assert!(!answers.include(&[2, 1, 0]), "not answered yet");
        assert_eq!(answers.words(), "Next: What if one message is lost?");
        assert_eq!(Answers(vec![2, 0]).words(), "Chat: WebSocket.");
    }

    #[test]
    fn a_path_that_does_not_exist_leads_nowhere() {
        assert!(Answers(vec![7]).next(&ROOT).is_none());
        assert!(Answers::default().next(&ROOT).is_some());
    }
}
