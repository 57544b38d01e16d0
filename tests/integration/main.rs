//! ronde's promises, tested byte by byte against the real binary; the basics first.
#![forbid(unsafe_code)]

mod harness;

mod a_basic;
mod b_framing;
mod b_http10;
mod b_random;
mod b_syntax;
mod c_application;
mod c_fields;
mod d_limits;
mod e_continue;
mod f_mended;
mod f_own_responses;
mod f_responses;
mod g_reuse;
mod h_upgrade;
mod i_commands;
mod i_lifecycle;
mod i_log;
mod i_system;
mod j_starvation;
mod k_checks;
mod k_failures;
mod k_health;
mod l_volume;
mod m_real_clients;
mod n_names;
mod o_round;
mod p_regressions;
mod q_pool;
mod r_late;
mod s_connecting;
mod s_deadlines;
mod s_early_answers;
mod s_gone;
mod s_half_close;
mod s_parked;
mod s_stop;
mod s_thousands;
mod t_proxy_header;
mod t_routes;
mod t_unix;
mod u_certificates;
mod u_tls;
