/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H
/* All of libagent but agent/openssl.h, the only header that mentions OpenSSL's types. */
#include <agent/attest.h>
#include <agent/bundle.h>
#include <agent/cert.h>
#include <agent/client.h>
#include <agent/command.h>
#include <agent/common.h>
#include <agent/context.h>
#include <agent/counter.h>
#include <agent/error.h>
#include <agent/key.h>
#include <agent/link.h>
#include <agent/mac.h>
#include <agent/mqtt.h>
#include <agent/password.h>
#include <agent/queue.h>
#include <agent/recipient.h>
#include <agent/seal.h>
#include <agent/signer.h>
#include <agent/software.h>
#include <agent/time.h>
#include <agent/tls.h>
#include <agent/tpm.h>
#include <agent/update.h>

#endif
