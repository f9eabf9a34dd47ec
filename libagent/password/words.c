/* SPDX-License-Identifier: Apache-2.0 */
#include "password/words.h"

#include <stddef.h>

/*
 * Written by hand from what is known to be popular, not copied from a leak. A password made of these and a few digits is
 * refused (rules.c), so two short entries cover their joins, doublings and "2024!" endings as well. No ordinary words:
 * a passphrase of random words must pass.
 */
const char *const common_words[] = {
	/* asking for it */
	"password", "passwort", "passphrase", "passcode", "passwd", "pass", "pword", "pwd", "secret", "geheim", "motdepasse",
	"contrasena", "senha", "parola", "wachtwoord", "haslo", "heslo", "kennwort", "letmein", "openup", "opensesame", "sesame",
	"changeme", "changeit", "change", "default", "standard", "initial", "temporary", "temp", "example", "sample", "demo",
	"test", "testing", "tester", "guest", "anonymous", "welcome", "willkommen", "bienvenue", "hello", "goodbye", "login",
	"logon", "signin", "access", "enter", "security", "secure", "private", "nopassword", "none", "blank", "unknown",
	"whatever", "trustno", "qwert", "azerty", "qwertz", "please", "mypassword", "thisismy", "mynameis", "iam", "mine",
	/* roles and machines */
	"admin", "administrator", "administrador", "root", "toor", "superuser", "super", "user", "username", "benutzer", "operator",
	"manager", "master", "owner", "service", "support", "system", "sysadmin", "server", "client", "computer", "network",
	"internet", "wireless", "wifi", "router", "gateway", "switch", "modem", "firewall", "device", "machine", "industrial",
	"controller", "scada", "modbus", "factory", "agentd", "agent", "libagent", "linux", "debian", "ubuntu", "windows",
	"raspberry", "raspberrypi", "yocto", "buildroot", "openwrt", "docker", "database", "oracle", "mysql", "postgres", "cisco",
	"google", "facebook", "linkedin", "microsoft", "samsung", "android", "iphone", "apple", "amazon", "company", "office",
	/* love, names and heroes */
	"iloveyou", "ilove", "loveyou", "lovely", "love", "forever", "babygirl", "baby", "angel", "princess", "sunshine", "flower",
	"sweetheart", "darling", "honey", "michael", "michelle", "jennifer", "jessica", "ashley", "daniel", "thomas", "andrew",
	"charlie", "jordan", "robert", "william", "alexander", "nicole", "anthony", "matthew", "joshua", "superman", "batman",
	"spiderman", "starwars", "startrek", "pokemon", "naruto", "harrypotter", "mickey", "mickeymouse", "snoopy", "garfield",
	"liverpool", "chelsea", "arsenal", "barcelona", "juventus", "realmadrid", "manchester", "football", "baseball",
	"basketball", "soccer", "hockey", "ferrari", "mercedes", "porsche", "mustang", "corvette", "harley", "dragon", "monkey",
	"shadow", "killer", "hunter", "ranger", "freedom", "america", "deutschland", "london", "paris", "berlin", "pepper",
	"cookie", "chocolate", "banana", "cheese", "butterfly", "blink", "metallica", "nirvana", "slipknot", "jesus", "jesuschrist",
	"godisgood", "thegreat", "number", "family", "myfamily", "friends", "computers",
	/* seasons and months, loved where passwords must be changed often */
	"spring", "summer", "autumn", "winter", "sommer", "herbst", "january", "february", "march", "april", "june", "july",
	"august", "september", "october", "november", "december", "januar", "februar", "monday", "tuesday", "wednesday",
	"thursday", "friday", "saturday", "sunday",
	/* sentences everybody knows */
	"correcthorsebatterystaple", "correcthorse", "batterystaple", "thequickbrownfox", "jumpsoverthelazydog", "tobeornottobe",
	"thatisthequestion", "maytheforcebewithyou", "iamyourfather", "loremipsum", "dolorsitamet", "allyourbasearebelongtous",
	"onceuponatime", "happybirthday", "merrychristmas", "happynewyear", "helloworld", "twinkletwinklelittlestar",
	"fourscoreandsevenyearsago", "inthebeginning", "ourfatherwhoartinheaven", "howareyou", "areyouthere", "areyoukidding",
	"myvoiceismypassport", "verifyme", "onetwothreefour", "onetwothree", "fourfivesix", "abcd", "abc", "xyz",
	/* walks over the keyboard that are no straight row */
	"1qaz2wsx3edc4rfv5tgb6yhn", "1qaz2wsx3edc4rfv", "1qaz2wsx3edc", "1qaz2wsx", "1qazxsw2", "qazwsxedcrfvtgbyhnujm",
	"qazwsxedcrfvtgb", "qazwsxedcrfv", "qazwsxedc", "qazwsx", "zaq12wsx", "zaq1xsw2", "zaqxsw", "1q2w3e4r5t6y7u8i9o0p",
	"1q2w3e4r5t6y7u8i", "1q2w3e4r5t6y", "1q2w3e4r5t", "1q2w3e4r", "1q2w3e", "q1w2e3r4t5y6u7i8", "q1w2e3r4t5y6", "q1w2e3r4t5",
	"q1w2e3r4", "a1b2c3d4e5f6g7h8", "a1b2c3d4e5f6", "a1b2c3d4", "a1s2d3f4g5h6", "a1s2d3f4", "qweasdzxcrtyfghvbn",
	"qweasdzxc", "qweasd", "asdzxc", "poiulkjmnb", "qwerasdfzxcv", "qwerasdf", "asdfzxcv", "qwer", "asdf", "zxcv", "wasd",
	"1234qwer", "qwer1234", "asdf1234", "147258369", "159357", "369258147", "741852963", "963852741", "13579", "24680",
	"112233445566", "112233", "121212", "123123", "123321", "696969", "314159265358979", "31415926", "27182818", "11223344",
	NULL
};

const char *const keyboard_rows[] = {
	"1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm",	/* US and most others */
	"qwertzuiop", "yxcvbnm",				/* German */
	"azertyuiop", "qsdfghjklm", "wxcvbn",			/* French */
	"!@#$%^&*()", "!\"#$%&/()=",				/* the digits with shift */
	"abcdefghijklmnopqrstuvwxyz",				/* no keyboard, same idea */
	NULL
};
