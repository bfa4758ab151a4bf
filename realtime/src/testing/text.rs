//! Reads the text of a page from its HTML.

/// Elements that begin and end on a line of their own.
const BLOCKS: [&str; 26] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "button",
    "div",
    "dd",
    "dl",
    "dt",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "header",
    "li",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "td",
    "tr",
    "ul",
];

/// The text of rendered HTML without tags and comments, its white space collapsed. A block stands apart from what is before and
/// after it. What a stylesheet would hide is part of the text.
pub fn text_of(html: &str) -> String {
    let parts = html.split("<!--");
    let without_comments: String = parts
        .map(|part| part.split_once("-->").map_or(part, |(_, rest)| rest))
        .collect();
    let mut pieces = without_comments.split('<');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for (tag, after_tag) in pieces.filter_map(|piece| piece.split_once('>')) {
        let name = tag.trim_start_matches('/').split_whitespace().next();
        if name.is_some_and(|name| BLOCKS.contains(&name)) {
            text.push(' ');
        }
        text.push_str(after_tag);
    }
    let words: Vec<_> = text.split_whitespace().collect();
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
    ];
    let text = words.join(" ");
    let text = entities.iter().fold(text, |text, (entity, character)| {
        text.replace(entity, character)
    });
    // The last one, because it may hide another.
    text.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_stands_between_the_tags() {
        let html = "7 <p class=\"a\">1 &lt; 2 &amp;lt; 3<!----> <b>four</b></p>\n five";
        assert_eq!(text_of(html), "7 1 < 2 &lt; 3 four five");
    }

    #[test]
    fn blocks_stand_apart_and_parts_of_a_line_do_not() {
        let html = "<ul><li>a<b>b</b>c</li><li>d</li></ul><div class=\"status\">e</div>f";
        assert_eq!(text_of(html), "abc d e f");
    }
}
