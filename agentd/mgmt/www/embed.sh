#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The files of the folder $1 as C arrays on standard output.
set -eu
echo '/* SPDX-License-Identifier: Apache-2.0 */'
echo '/* Made by embed.sh from the files of www/. */'
echo '#include "agentd/mgmt/www.h"'
for file in index.html app.js style.css plain.html; do
	name=www_$(echo "$file" | tr '.' '_')
	echo "const unsigned char ${name}[] = {"
	case $file in
	# One script for the browser, so one request of the few that strangers have.
	app.js) parts='words.js app.js update.js accounts.js start.js' ;;
	*) parts=$file ;;
	esac
	for part in $parts; do cat "$1/$part"; done | od -An -v -tx1 | sed -e 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'
	echo '};'
	echo "const size_t ${name}_size = sizeof($name);"
done
