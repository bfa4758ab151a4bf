//! What every page uses: title, icons, theme, numbers, first state, forms, loading of its code and of documents, and hydration.

pub mod about;
pub mod bidi;
pub mod documents;
pub mod erase;
pub mod first_state;
pub mod forms;
pub mod hydration;
pub mod icons;
pub mod input_method;
pub mod lazy_page;
pub mod letter_case;
pub mod markup;
pub mod numbers;
pub mod one_press;
pub mod served;
pub mod shared_part;
pub mod theme;
