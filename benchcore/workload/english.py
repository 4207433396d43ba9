"""English: a stock of plain words by their part in a sentence."""

NOUNS = """
river garden window table letter story winter summer morning evening market village street
bridge mountain valley forest field farmer teacher doctor driver writer painter student child
mother father sister brother friend neighbor worker captain sailor baker king queen horse dog
cat bird fish tree flower leaf stone wall door floor roof kitchen room house school station
train road path boat ship engine wheel machine clock lamp candle mirror picture camera paper
book page pencil basket bottle cup plate bread apple orange lemon sugar salt coffee tea milk
butter soup meal dinner lunch coat shirt hat shoe pocket button blanket pillow bed chair desk
box bag key coin map ticket wind rain snow cloud sky sun moon star night island beach ocean lake
hill tower church library museum theater office factory shop bank park square corner song music
dance game ball team player crowd family guest visitor stranger leader member officer soldier
artist singer actor
"""

ACTIONS = """
carried opened closed found lost kept moved watched followed crossed reached passed left entered
touched held dropped lifted pulled pushed turned built painted cleaned repaired covered filled
emptied washed cut broke fixed bought sold sent brought took gave showed offered shared borrowed
returned counted measured drew wrote read studied described explained remembered forgot noticed
heard saw met visited called helped joined led loved liked wanted needed expected preferred
"""

STATES = """
waited slept walked ran stood sat stayed arrived worked rested laughed smiled sang danced played
talked listened traveled stopped started changed grew fell rose shone
"""

QUALITIES = """
old young new small large big little long short tall low high wide narrow deep warm cold hot
cool dry wet soft hard heavy light dark bright quiet loud quick slow early late rich poor clean
empty full open simple plain strange familiar common rare gentle strong weak fresh sweet bitter
round flat sharp smooth rough thick thin blue green red white black brown gray yellow golden
wooden
"""

MANNERS = """
slowly quickly quietly carefully easily often again together alone today early outside nearby
always sometimes everywhere
"""

RELATIONS = """
near behind under above beside across through around before after without with from toward
against beyond inside over
"""

DETERMINERS = "the this that every another one our their his her my your"

JOINERS = "and but while so because until when"
