/// Lists the answers of an exercise, each of which is a module, and declares the functions
/// that every answer has. A declared function takes the name of an answer first, and calls
/// the function of that answer.
///
/// ```no_run
/// mod mistake {
///     pub async fn add(a: i64, b: i64) -> i64 { a - b }
/// }
/// mod yours {
///     pub async fn add(a: i64, b: i64) -> i64 { a + b }
/// }
///
/// exercise::answers! {
///     const ANSWERS = [yours, mistake];
///     async fn add(a: i64, b: i64) -> i64;
/// }
///
/// # async fn example() {
/// println!("{}", add("mistake", 1, 2).await); // what mistake::add(1, 2) returns
/// # }
/// ```
///
/// Keep the `mod` lines outside of the macro: rustfmt does not find files that only a macro names.
#[macro_export]
macro_rules! answers {
    (
        const $list:ident = $answers:tt;
        $(async fn $name:ident($($arg:ident: $type:ty),+ $(,)?) -> $output:ty;)+
    ) => {
        $crate::answers!(@list $list $answers);
        $($crate::answers!(@call $answers $name ($($arg: $type),+) ($($arg),+) $output);)+
    };
    (@list $list:ident [$($answer:ident),+ $(,)?]) => {
        const $list: &[&str] = &[$(stringify!($answer)),+];
    };
    (
        @call [$($answer:ident),+ $(,)?]
        $name:ident ($($arg:ident: $type:ty),+) $args:tt $output:ty
    ) => {
        async fn $name(answer: &str, $($arg: $type),+) -> $output {
            match answer {
                $(stringify!($answer) => $answer::$name $args.await,)+
                _ => unreachable!("{answer} is not in the list"),
            }
        }
    };
}
