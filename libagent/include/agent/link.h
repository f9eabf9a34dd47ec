/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_LINK_H
#define AGENT_LINK_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/error.h>
#include <agent/mqtt.h>

#ifdef __cplusplus
extern "C" {
#endif

/** AGENT_LINK_SOCKET - where agentd-link answers applications. Since: 0.1 */
#define AGENT_LINK_SOCKET "/run/agentd/link.sock"

/** AGENT_LINK_MESSAGE_MAX - longest payload, in bytes. Since: 0.1 */
#define AGENT_LINK_MESSAGE_MAX 65536

/** AGENT_LINK_TOPIC_MAX - longest topic or filter, in bytes. Since: 0.1 */
#define AGENT_LINK_TOPIC_MAX 1024

/** AGENT_LINK_FILTERS_MAX - most filters of one link. Since: 0.1 */
#define AGENT_LINK_FILTERS_MAX 16

/** enum agent_link_event_type - what agent_link_next() brings. Since: 0.1 */
enum agent_link_event_type {
	AGENT_LINK_MESSAGE = 0, /* a message of a topic that was subscribed */
	AGENT_LINK_GAP = 1	/* messages before the next event may be missing; the reason says why */
};

/**
 * struct agent_link_event - lent until the next agent_link_next() on the same link
 * @type:    enum agent_link_event_type
 * @topic:   of a message, NUL-terminated, in full
 * @payload: of a message, @size bytes
 * @reason:  of a gap: "connection" (the broker connection was made anew), "slow" (this program did not fetch its messages in
 *           time), "restart" (agentd-link was restarted, or gave us up as dead), "size" (one message was too long)
 *
 * Since: 0.1
 */
struct agent_link_event {
	enum agent_link_event_type type;
	const char *topic;
	const void *payload;
	size_t size;
	const char *reason;
};

/**
 * struct agent_link - a program that uses the device's connection to the broker
 *
 * agentd-link decides by the kernel's word on who asks (uid, groups, systemd unit) and by mqtt.rights of agentd.conf(5) which topics
 * the program may publish and subscribe. A topic or filter that begins with "~/" lies below the device's own prefix. Connects again by
 * itself. Belongs to one thread at a time; open it after fork(). Since: 0.1
 */
struct agent_link;

/**
 * agent_link_open() - connect to agentd-link
 * @socket_path: NULL for AGENT_LINK_SOCKET
 * @ret_link:    the caller frees it
 *
 * Does not wait for the broker. Returns 0, -ENOENT or -ECONNREFUSED (bus.connect), -EACCES, -ENAMETOOLONG, -EINVAL, -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_link_open(const char *socket_path, struct agent_link **ret_link, struct agent_error **err);
/** agent_link_free() - close; takes NULL, returns NULL. Messages that were accepted are delivered all the same. Since: 0.1 */
AGENT_EXPORT struct agent_link *agent_link_free(struct agent_link *link);
/** agent_link_set_timeout() - how long a call may wait for agentd-link, in ms; 30000 if never set. Since: 0.1 */
AGENT_EXPORT void agent_link_set_timeout(struct agent_link *link, unsigned timeout_ms);
/**
 * agent_link_publish() - hand a message over for good
 * @flags:  enum agent_mqtt_flags
 * @ttl_s:  forget it if it could not be delivered for so long, in running time of the device; 0: as its queue says
 *
 * Returns 0 when the message is as safe as its row of mqtt.queues promises, docs/design/queue.md: agentd-link, agentd or this program
 * may be killed, and with loss_messages=1 the power may go. It does not mean that the broker has it. Needs no connection to the
 * broker. Blocks on the disk where the row says so. With AGENT_MQTT_QOS2 the broker has it exactly once over broken connections if mqtt.session_s is set, and
 * at least once after agentd-link was killed; a broker that takes QoS 1 at most gets that.
 *
 * After any error but -ENOTCONN, -ETIMEDOUT and -EIO the message was not taken. After those nobody knows; who publishes it again may have it
 * delivered twice. With AGENT_MQTT_QOS1 that is done here, once, when the connection breaks.
 *
 * Returns 0, -EINVAL (link.topic, link.argument), -EMSGSIZE (link.message), -EPERM (link.refused: no row of mqtt.rights), -EDQUOT (queue.full,
 * link.rate), -EBUSY (link.busy, link.starting), -EKEYEXPIRED (setup.password-change-required: the owner has set no password yet),
 * -ENOKEY (setup.recovery, setup.unprovisioned), -EOPNOTSUPP (link.disabled), -EIO and others of a disk that fails (queue.file, queue.io), -ENOTCONN (bus.lost), -ETIMEDOUT
 * (bus.timeout), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_link_publish(struct agent_link *link, const char *topic, const void *payload, size_t size,
						     unsigned flags, uint32_t ttl_s, struct agent_error **err);
/**
 * agent_link_subscribe() - receive what matches @filter
 * @qos: 0, 1 or 2, between broker and agentd-link; the broker may grant less
 *
 * Remembered, and repeated after agentd-link was restarted. From agentd-link to the program a message comes at most once; what may be
 * missing is told as a gap. Returns 0, -EINVAL (link.topic), -EPERM (link.refused), -EDQUOT (link.filters: more than
 * AGENT_LINK_FILTERS_MAX here, or too many of all programs), and as agent_link_publish(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_link_subscribe(struct agent_link *link, const char *filter, int qos, struct agent_error **err);
/** agent_link_unsubscribe() - receive no more what matches @filter; returns 0, or as agent_link_publish(). Since: 0.1 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_link_unsubscribe(struct agent_link *link, const char *filter, struct agent_error **err);
/**
 * agent_link_next() - wait for a message or a gap
 * @timeout_ms: 0 does not wait, -1 waits for ever
 *
 * A program that does not call this often enough loses the oldest of its messages (gap "slow"), after a minute its connection.
 * Returns 1 and the event, 0 when there is none, -ENOTCONN, -EINVAL, -ENOMEM and others of the connection (try again). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_link_next(struct agent_link *link, int timeout_ms, struct agent_link_event *ret_event,
						  struct agent_error **err);
/**
 * agent_link_get_fd() - descriptor to poll for POLLIN, when agent_link_next() with timeout 0 has just returned 0
 *
 * Changes when the connection is made anew: ask each time. Returns it, or -ENOTCONN: call agent_link_next() again later. Since: 0.1
 */
AGENT_EXPORT int agent_link_get_fd(struct agent_link *link);

#ifdef __cplusplus
}
#endif

#endif
