/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_VERSION_H
#define CONTROL_VERSION_H

#define UNDERSTUDY_VERSION "0.1.0"

#endif
