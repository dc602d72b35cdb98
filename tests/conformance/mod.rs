//! The conformance suite over every store: one test per check per store.

use syncflow_server::for_each_conformance_check;

macro_rules! one_test_per_check {
    ($store:ident $($module:ident: [$($check:ident,)*])*) => {
        mod $store {
            $(mod $module {
                use syncflow_server::store::conformance::$module as checks;

                $(#[test]
                fn $check() {
                    crate::support::in_a_world(crate::support::stores::$store, checks::$check);
                })*
            })*
        }
    };
}

for_each_conformance_check!(one_test_per_check memory);
for_each_conformance_check!(one_test_per_check sqlite);
for_each_conformance_check!(one_test_per_check postgres);
