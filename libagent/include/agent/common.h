/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_COMMON_H
#define AGENT_COMMON_H
/*
 * Attributes used by all headers of libagent. Since: 0.1
 */
#if defined(__GNUC__)
#define AGENT_EXPORT __attribute__((visibility("default")))
#define AGENT_MUST_CHECK __attribute__((warn_unused_result))
#define AGENT_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define AGENT_EXPORT
#define AGENT_MUST_CHECK
#define AGENT_PRINTF(f, a)
#endif

#endif
