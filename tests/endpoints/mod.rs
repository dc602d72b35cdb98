//! The API over real HTTP: the bytes on the wire, compared with the contract of every endpoint.
//!
//! A check runs on several kinds of servers, each started by a function that returns a [`server::Server`]. Every check
//! is listed in `every_check` or `every_check_of_a_listener`. A check that is not listed is dead code, which the
//! compiler reports.
#![expect(clippy::unwrap_used, reason = "a check that cannot go on has failed")]

pub(crate) mod client;
mod console;
mod contract;
mod raw;
pub(crate) mod server;

mod access;
#[path = "../../examples/embed.rs"]
mod embed;
mod http;
pub(crate) mod local;
mod log;
mod operating;
mod routes;
mod starting;
mod stopping;
pub(crate) mod waking;

use self::http::{bodies, browsers, transport};
use self::routes::{compaction, documents, input, openapi, pull, push, revisions, seed};

/// Passes the list of checks for every transport to a macro.
macro_rules! every_check {
    ($run:ident, $server:ident) => {
        $run! { $server $server
            bodies {
                a_body_is_read_as_json_whatever_its_type
                an_empty_body_is_treated_as_an_empty_object_except_by_a_push
                compressed_bodies_are_read
                a_body_that_its_encoding_cannot_undo_is_400
                an_unknown_encoding_is_415
                a_body_may_be_as_large_as_the_limit_and_no_larger
                what_a_body_inflates_to_is_limited
                a_body_that_becomes_far_larger_than_it_was_sent_is_too_large
                a_body_of_several_members_is_read_as_one
                an_encoding_is_known_in_upper_and_lower_case
                what_stands_behind_the_encoded_data_is_an_error
                the_members_and_the_window_of_a_body_are_limited
                a_byte_order_mark_at_the_beginning_is_skipped
            }
            browsers {
                a_page_of_a_foreign_origin_changes_nothing_and_reads_nothing
                a_write_from_another_site_without_an_origin_is_refused
                pages_of_this_machine_may_do_everything
                a_preflight_names_the_headers_that_pages_may_send
                a_page_may_read_every_answer_errors_included
                no_answer_is_taken_for_another_type_or_kept_for_somebody_else
            }
            compaction {
                statistics_count_operations_documents_and_what_clients_have_not_pulled
                compaction_removes_log_entries_and_never_documents
                compaction_goes_by_when_the_server_received_an_operation
                an_age_that_is_not_a_number_from_zero_removes_nothing
                an_operation_that_was_compacted_away_is_still_known
                every_client_reaches_the_documents_across_a_compaction
            }
            documents {
                a_document_has_its_id_and_revision_from_the_server
                a_document_that_is_not_there_is_named_in_the_404
                a_deleted_document_is_not_there
                an_id_may_contain_a_slash_and_anything_else_that_is_escaped
                names_in_a_path_are_checked_and_named
                a_query_answers_newest_first_by_last_commit_with_its_count
                a_query_goes_on_from_its_cursor
                a_document_and_its_tombstone_give_their_clocks_if_they_are_asked_for
                a_query_compares_sorts_and_gives_clocks
                a_filter_compares_by_type_and_numbers_by_value
                the_greatest_number_of_a_double_is_taken_and_no_greater_one
                keys_and_values_of_a_filter_never_reach_a_query_as_text
                a_collection_that_nobody_wrote_to_has_no_documents
                every_faulty_field_of_a_query_is_named
            }
            input {
                a_body_that_is_not_a_json_object_is_refused_everywhere
                a_field_of_a_wrong_type_is_refused_and_named
                a_missing_field_is_refused_and_named
                a_body_that_is_not_a_push_is_refused_and_named
                of_many_faults_twenty_are_named_and_the_rest_counted
                what_is_too_large_or_too_deep_is_refused_and_named
                of_equal_keys_the_last_one_counts
                unknown_keys_are_tolerated_however_odd
                texts_that_look_like_statements_are_only_texts
            }
            pull {
                a_page_has_the_keys_of_the_original_protocol_and_a_cursor
                a_client_gets_its_own_operations_too
                nothing_to_pull_is_an_empty_page
                a_cursor_gives_each_change_once_in_the_order_of_the_log
                from_nothing_each_document_comes_once_and_no_old_tombstone
                a_cursor_of_another_log_is_answered_with_410
                a_client_may_begin_at_the_end_of_the_log
                an_original_client_misses_nothing_that_shares_a_timestamp_across_pages
                an_original_client_misses_nothing_that_comes_late_or_after_the_far_future
                an_original_client_whose_answer_was_lost_gets_the_same_again
                timestamps_at_their_limit_are_told_apart_by_a_since_beyond_it
                an_unknown_since_is_answered_from_the_beginning
                without_a_client_id_pages_are_by_timestamp_and_end_between_unequal_ones
                a_run_of_equal_timestamps_that_fits_no_page_is_422
                limits_are_integers_from_one_and_clamped
                a_since_is_an_integer_from_zero
                every_faulty_field_of_a_pull_is_named
                a_clock_of_any_size_in_a_pull_is_ignored
                a_page_is_bounded_in_bytes
            }
            push {
                accepted_operations_are_echoed_byte_for_byte
                no_operations_are_a_push_too
                a_known_id_is_accepted_again_and_changes_nothing
                one_id_for_two_operations_of_a_push_is_refused_and_named
                an_operation_that_a_push_has_twice_is_accepted_twice_and_applied_once
                one_id_pushed_eight_times_at_once_is_accepted_in_each_answer
                a_concurrent_operation_is_answered_with_the_servers_data_and_clock
                an_operation_that_happens_before_conflicts_with_a_tombstone_as_null
                an_equal_or_later_clock_is_accepted_and_missing_counters_count_as_zero
                an_unknown_document_is_created_whatever_the_clock
                an_update_merges_one_level_deep_and_null_stays
                an_update_creates_an_unknown_document
                an_update_of_a_deleted_document_revives_it_with_its_own_data_alone
                an_insert_replaces_the_data_of_an_existing_document
                a_delete_leaves_a_tombstone_whose_revision_counts_on
                a_delete_of_an_unknown_document_is_accepted_and_guards_it
                of_many_who_create_one_document_at_once_one_wins_and_the_others_conflict
                later_operations_of_a_push_see_the_earlier_ones
                a_faulty_operation_fails_the_push_as_a_whole
                a_partial_push_is_done_without_what_is_refused
                a_document_that_grows_too_large_fails_the_push_and_names_the_data
                conflicts_that_would_answer_too_much_fail_the_push_and_name_the_operations
                documents_that_are_too_much_together_fail_the_push_and_name_the_operations
                a_client_may_push_operations_of_another
                data_comes_back_with_the_bytes_that_were_pushed
                names_of_any_script_come_back_as_they_were
            }
            revisions {
                an_operation_names_the_revision_that_its_author_saw
                a_revision_needs_the_place_that_it_is_known_from
                what_is_wrong_with_a_revision_is_named
            }
            seed {
                health_says_ok_and_names_the_adapter
                a_push_is_accepted
                a_pull_gives_operations_and_no_conflicts
                a_document_is_got_by_its_id
                documents_are_queried_by_a_filter
                statistics_have_the_three_counters
                compaction_says_that_it_is_completed
                an_error_has_the_two_texts
                the_testing_section_works
            }
            transport {
                every_get_has_a_weak_tag_and_answers_304_to_it
                a_tag_changes_with_what_it_stands_for
                head_answers_as_get_without_the_body
                unknown_routes_are_404_and_wrong_methods_405_with_allow
                a_trailing_slash_is_ignored
                a_path_is_taken_as_it_is_written
                a_bad_percent_escape_is_400
                a_client_that_refuses_every_encoding_is_answered_plainly
                a_request_id_is_taken_or_made_and_returned
            }
        }
    };
}

/// The same for checks of a server with its own listener: connections, and routes that are not Lambda functions.
macro_rules! every_check_of_a_listener {
    ($run:ident, $name:ident, $server:ident) => {
        $run! { $name $server
            bodies {
                a_body_without_a_length_is_cut_at_the_limit_and_answered
                a_client_that_asks_first_is_told_before_it_sends_too_much
                a_body_that_breaks_off_changes_nothing
                a_body_that_nobody_reads_does_not_break_the_connection
                a_transfer_encoding_other_than_chunked_is_501
            }
            browsers {
                a_server_is_called_by_an_address_or_by_localhost
                an_origin_of_odd_bytes_is_refused
            }
            openapi {
                the_document_is_openapi_3_1_and_has_every_route
                a_real_answer_of_every_endpoint_is_as_described
            }
            compaction {
                clients_are_listed_with_what_they_lack
            }
            documents {
                a_document_may_be_named_query
            }
            transport {
                an_answer_is_compressed_when_asked
                a_connection_serves_requests_one_after_the_other
            }
        }
    };
}

/// One test for each check, over one kind of server.
macro_rules! suite {
    ($name:ident $server:ident $($module:ident { $($check:ident)* })*) => {
        mod $name {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let server = crate::endpoints::server::$server().await;
                    crate::endpoints::$module::$check(&server.api).await;
                })*
            })*
        }
    };
}

/// Passes the list of checks that depend on the store to a macro: texts, numbers, orders and limits on the wire.
macro_rules! every_check_of_a_store {
    ($run:ident, $server:ident) => {
        $run! { $server $server
            compaction {
                statistics_count_operations_documents_and_what_clients_have_not_pulled
                compaction_removes_log_entries_and_never_documents
                every_client_reaches_the_documents_across_a_compaction
            }
            documents {
                a_document_has_its_id_and_revision_from_the_server
                an_id_may_contain_a_slash_and_anything_else_that_is_escaped
                a_query_answers_newest_first_by_last_commit_with_its_count
                a_query_goes_on_from_its_cursor
                a_filter_compares_by_type_and_numbers_by_value
                keys_and_values_of_a_filter_never_reach_a_query_as_text
                the_greatest_number_of_a_double_is_taken_and_no_greater_one
            }
            input {
                texts_that_look_like_statements_are_only_texts
            }
            pull {
                a_cursor_gives_each_change_once_in_the_order_of_the_log
                a_cursor_of_another_log_is_answered_with_410
                an_original_client_misses_nothing_that_shares_a_timestamp_across_pages
                an_original_client_misses_nothing_that_comes_late_or_after_the_far_future
                a_run_of_equal_timestamps_that_fits_no_page_is_422
                a_page_is_bounded_in_bytes
            }
            push {
                accepted_operations_are_echoed_byte_for_byte
                one_id_pushed_eight_times_at_once_is_accepted_in_each_answer
                a_concurrent_operation_is_answered_with_the_servers_data_and_clock
                of_many_who_create_one_document_at_once_one_wins_and_the_others_conflict
                a_document_that_grows_too_large_fails_the_push_and_names_the_data
                data_comes_back_with_the_bytes_that_were_pushed
                names_of_any_script_come_back_as_they_were
            }
            revisions {
                an_operation_names_the_revision_that_its_author_saw
                a_revision_needs_the_place_that_it_is_known_from
            }
            seed {
                health_says_ok_and_names_the_adapter
                the_testing_section_works
            }
        }
    };
}

// The rest of the wire does not depend on the store, so all checks run over one store and both transports.
every_check!(suite, sqlite);
every_check!(suite, lambda);
every_check_of_a_listener!(suite, sqlite_listener, sqlite);
every_check_of_a_store!(suite, memory);
every_check_of_a_store!(suite, postgres);
every_check_of_a_store!(suite, mongodb);
