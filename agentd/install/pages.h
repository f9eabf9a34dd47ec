/* SPDX-License-Identifier: Apache-2.0 */
#ifndef INSTALL_PAGES_H
#define INSTALL_PAGES_H

/*
 * Take the pages of program and libraries out of this process that are as they are in their files, and free memory of the heap. They stay in
 * the page cache, and those that are used again come back one by one. For the turns of an installation: what the start needed (filters
 * of system calls, settings) the check of a signature does not, and what that needed (ASN.1, certificates) the writing does not.
 */
void pages_give_back(void);

#endif
