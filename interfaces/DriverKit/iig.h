/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The attributes of the interface language, as clang annotations. Every .iig file includes this
 * first, directly or through its super class.
 */

#define IIG_ANNOTATE(text) __attribute__((annotate(text)))

#define KERNEL          IIG_ANNOTATE("kernel")
#define NATIVE          IIG_ANNOTATE("native")
#define SERIALIZABLE    IIG_ANNOTATE("serializable")
#define PROTOCOL        IIG_ANNOTATE("protocol") /* messages only: no class table, no stubs (ours) */
#define LOCAL           IIG_ANNOTATE("local")
#define LOCALONLY       IIG_ANNOTATE("localonly")
#define TARGET          IIG_ANNOTATE("target")
#define TYPE(method)    IIG_ANNOTATE("type:" #method)
#define QUEUENAME(name) IIG_ANNOTATE("queuename:" #name)
#define EXTENDS(cls)    IIG_ANNOTATE("extends:" #cls)
